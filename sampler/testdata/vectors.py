#!/usr/bin/env python3
"""Writes vectors.json: what every backend's sampling must give.

Needs mpmath (made with 1.3.0). It shares no code with the Go package: tokens are
sorted in full, weights are exact (e^x to 120 bits, then cut to an integer), sums
and draws are Python integers. A draw or a top-p boundary so near to a step of
the cumulative sum that the last bits of a float64 weight could matter is left
out, so that the vectors hold for the definition and not for one rounding of it.

Usage: python3 vectors.py > vectors.json
"""
import json
import math
import struct
from fractions import Fraction

from mpmath import mp, mpf

mp.prec = 120
TOP_BITS = 43


def philox4x32_10(counter, key):
    c, k = list(counter), list(key)
    for i in range(10):
        if i:
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
    return c


def uniform53(seed, position, choice):
    m = 0xFFFFFFFF
    w = philox4x32_10([position & m, position >> 32, choice, 0], [seed & m, seed >> 32])
    return ((w[1] << 32) | w[0]) >> 11


def signed(word):
    return word - (1 << 32) if word >> 31 else word


def generated(kind, n):
    """Logits that a reader makes again from kind and n; all are exact float32."""
    out = []
    for i in range(n):
        w = philox4x32_10([i, 0, 0, 0], [2023, 0])
        if kind == "flat":  # evenly spread over [-16, 16)
            out.append((signed(w[0]) >> 8) * 2.0**-19)
        elif kind == "bell":  # sum of four over [-4, 4)
            out.append(sum(signed(x) >> 13 for x in w) * 2.0**-16)
        elif kind == "ties":  # 64 levels
            out.append((signed(w[0]) >> 26) * 0.25)
    return out


def bits32(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def float32(b):
    return struct.unpack("<f", struct.pack("<I", b))[0]


class Row:
    def __init__(self, logits):
        self.logits = logits
        self.order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
        self.top = logits[self.order[0]]
        self.weights = {}

    def weigh(self, temperature):
        if temperature not in self.weights:
            t, w, seen = mpf(temperature), [], {}
            for i in self.order:
                x = self.logits[i]
                if x not in seen:
                    seen[x] = 0
                    if x != -math.inf:
                        d = (mpf(x) - mpf(self.top)) / t
                        if d > -31:
                            seen[x] = int(mp.floor(mp.ldexp(mp.exp(d), TOP_BITS)))
                w.append(seen[x])
            self.weights[temperature] = w
        return self.weights[temperature]

    def keep(self, temperature, top_k, top_p):
        """The kept weights in order, or None if the end is too near a step."""
        w = self.weigh(temperature)
        if top_k > 0:
            w = w[:top_k]
        if top_p == 1:
            return w
        total, acc = sum(w), 0
        need = math.ceil(Fraction(top_p) * total)
        for i, x in enumerate(w):
            if min(abs(acc + x - need), abs(acc - need)) < total >> 32 and i + 1 < len(w):
                return None
            acc += x
            if acc >= need:
                return w[: i + 1]
        return w

    def draw(self, kept, total, u):
        r, acc = u * total >> 53, 0
        for i, x in zip(self.order, kept):
            acc += x
            if abs(acc - r) < total >> 32:
                return None
            if acc > r:
                return i


def cases(row, settings, draws, salt):
    out = []
    for temperature, top_k, top_p in settings:
        case = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        if temperature == 0:
            case["draws"] = [[1, 0, 0, row.order[0]]]
            out.append(case)
            continue
        kept = row.keep(temperature, top_k, top_p)
        if kept is None:
            continue
        total = sum(kept)
        case["kept"] = sum(1 for x in kept if x)
        case["draws"] = []
        for n in range(draws):
            salt = (salt * 6364136223846793005 + 1442695040888963407) % 2**64
            seed = salt if n % 4 == 3 else salt % 1000
            position = [n, n * 977, 2**24 + n, 2**33 + n][n % 4]
            choice = n % 3
            token = row.draw(kept, total, uniform53(seed, position, choice))
            if token is not None:
                case["draws"].append([seed, position, choice, token])
        out.append(case)
    return out


def main():
    inf = math.inf
    kat = [
        ([0] * 4, [0] * 2),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2),
        ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]),
        ([1, 2, 3, 4], [5, 6]),
    ]
    uniforms = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1 << 32, 0, 0), (0, 1 << 32, 0), (2**64 - 1, 2**40 + 7, 9), (42, 4095, 3)]

    def given(*xs):
        return [float32(bits32(x)) for x in xs]

    small = [
        ("one", given(3.5)),
        ("two equal", given(1, 1)),
        ("zeros of both signs", given(-0.0, 0.0, -0.0, -1)),
        ("masked", given(-inf, 2, -inf, 1, 0.5, -inf)),
        ("one not masked", given(-inf, -inf, -7, -inf)),
        ("extremes", given(3.4028234e38, -3.4028234e38, 3.4028232e38, 1e-45, -1e-45, 0)),
        ("close", given(1, 1.0000001, 0.9999999, 1.0000002, 1)),
        ("stairs", given(*[-0.5 * i for i in range(24)])),
        ("stairs upwards", given(*[0.5 * i for i in range(24)])),
        ("pairs", given(*[float(i // 2 % 5) for i in range(40)])),
        ("far tail", given(0, -29.8, -29.81, -30, -40, -100, -1000)),
    ]
    all_small = [(t, k, p) for t in (0, 1e-5, 0.25, 0.7, 1, 2) for k, p in ((0, 1), (-1, 0.9), (1, 1), (2, 1), (5, 0.5), (1000, 0.999), (0, 1e-6))
                 if t or (k, p) == (0, 1)]
    all_large = [(0, 0, 1), (1, 0, 1), (0.7, 0, 0.95), (1, 40, 1), (1, 40, 0.9), (0.8, 1000, 0.99), (2, 30000, 1), (2, 30000, 0.5), (1.3, 0, 0.1)]
    rows = []
    for i, (name, logits) in enumerate(small):
        rows.append({"name": name, "logits": ["%08x" % bits32(x) for x in logits], "cases": cases(Row(logits), all_small, 6, i)})
    for i, (kind, n) in enumerate([("flat", 49152), ("bell", 49152), ("ties", 49152), ("bell", 1000), ("ties", 333)]):
        rows.append({"name": "%s %d" % (kind, n), "kind": kind, "n": n, "cases": cases(Row(generated(kind, n)), all_large, 24, 100 + i)})

    doc = {
        "philox": [{"counter": c, "key": k, "out": philox4x32_10(c, k)} for c, k in kat],
        "uniform53": [[s, p, c, uniform53(s, p, c)] for s, p, c in uniforms],
        "rows": rows,
    }
    print(json.dumps(doc, separators=(",", ":")).replace("},{", "},\n{"))


main()
