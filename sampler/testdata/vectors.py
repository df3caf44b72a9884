#!/usr/bin/env python3
"""Writes vectors.json: what every backend's sampling must give.

Needs mpmath (made with 1.3.0). It shares no code with the Go package: tokens are
counted in lists and sorted in full, weights are exact (e^x to 120 bits, then cut
to an integer), sums and draws are Python integers. A draw, or a boundary of top-p
or min-p, so near to a step that the last bits of a float64 weight could matter is
left out, so that the vectors hold for the definition and not for one rounding of
it. Adjusted logits are by the definition's own roundings: Python's floats.

Usage: python3 vectors.py > vectors.json
"""
import json
import math
import random
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

    def keep(self, temperature, top_k, top_p, min_p=0):
        """The kept weights in order, or None if the end is too near a step."""
        w = self.weigh(temperature)
        if min_p > 0:
            least = mp.log(min_p) * temperature  # below the top, in logits
            far = [mpf(self.logits[i]) - mpf(self.top) for i in self.order]
            if any(abs(d - least) < mpf(2) ** -32 for d in far if d):
                return None
            w = [x for x, d in zip(w, far) if d >= least]
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


def held(x):
    """x as a finite float32."""
    most = float32(0x7F7FFFFF)
    return float32(bits32(min(max(x, -most), most)))


def adjusted(logits, case):
    """The logits after biases, bans and penalties."""
    prompt, output, out = case["prompt"], case["output"], []
    for token, logit in enumerate(logits):
        bans = [w[-1] for w in case["bad_words"] if w[:-1] == output[len(output) - len(w) + 1 :]]
        if len(output) < case["min_tokens"]:
            bans += case["stop"]
        if token in bans or logit == -math.inf:
            out.append(-math.inf)
            continue
        for t, bias in case["logit_bias"]:
            if t == token:
                logit = held(logit + bias)
        x, times = logit, output.count(token)
        r = case["repetition_penalty"]
        if times or token in prompt:
            x = x / r if x > 0 else x * r
        if times:
            x = x - case["frequency_penalty"] * times
            x = x - case["presence_penalty"]
        out.append(held(x))
    return out


def adjusted_cases(logits, n, rng):
    """n cases of random parameters after random tokens, mostly likely ones."""
    order = Row(logits).order

    def token():
        return order[rng.randrange(min(12, len(order)))] if rng.random() < 0.8 else rng.randrange(len(logits))

    def tokens(most):
        return [token() for _ in range(rng.randrange(most + 1))]

    def maybe(x, off):
        return x if rng.random() < 0.6 else off

    out = []
    while len(out) < n:
        output = tokens(20)
        words = [tokens(2) + [token()] for _ in range(rng.randrange(3))]
        words += [output[len(output) - k :] + [order[k]] for k in range(3) if k <= len(output) and rng.random() < 0.3]
        case = {
            "temperature": rng.choice([0, 0.5, 0.8, 1, 1.3, 2]),
            "top_k": maybe(rng.randrange(1, 40), 0),
            "top_p": maybe(rng.randrange(50, 100) / 100, 1),
            "min_p": maybe(rng.randrange(1, 60) / 100, 0),
            "repetition_penalty": maybe(rng.randrange(50, 200) / 100, 1),
            "frequency_penalty": maybe(rng.randrange(-200, 201) / 100, 0),
            "presence_penalty": maybe(rng.randrange(-200, 201) / 100, 0),
            "logit_bias": [[t, rng.randrange(-400, 401) / 100] for t in sorted(set(tokens(6)))],
            "bad_words": words,
            "min_tokens": rng.randrange(30),
            "stop": tokens(2),
            "prompt": tokens(15),
            "output": output,
        }
        row = Row(adjusted(logits, case))
        if row.top == -math.inf:
            continue
        if case["temperature"] == 0:
            case["draws"] = [[1, 0, 0, row.order[0]]]
            out.append(case)
            continue
        kept = row.keep(case["temperature"], case["top_k"], case["top_p"], case["min_p"])
        if kept is None:
            continue
        case["kept"], case["draws"], total = sum(1 for x in kept if x), [], sum(kept)
        for i in range(16):
            seed, position, choice = rng.randrange(2**64), rng.randrange(2**34), rng.randrange(4)
            drawn = row.draw(kept, total, uniform53(seed, position, choice))
            if drawn is not None:
                case["draws"].append([seed, position, choice, drawn])
        out.append(case)
    return out


def logprobs(logits):
    """Of every seventh of the first tokens, and of the 20 likeliest."""
    row = Row(logits)
    log = mp.log(sum(row.weigh(1))) - TOP_BITS * mp.log(2)

    def of(token):
        return [token, float(mpf(logits[token]) - mpf(row.top) - log)]

    possible = [i for i in row.order if logits[i] > -math.inf]
    return {"tokens": [of(i) for i in range(0, min(len(logits), 200), 7) if logits[i] > -math.inf], "likeliest": [of(i) for i in possible[:20]]}


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

    rng = random.Random(1)
    named = {name: logits for name, logits in small}
    adjusted_rows, logprob_rows = [], []
    for name, n in [("masked", 6), ("extremes", 6), ("stairs", 20), ("pairs", 20)]:
        logits = ["%08x" % bits32(x) for x in named[name]]
        adjusted_rows.append({"name": name, "logits": logits, "cases": adjusted_cases(named[name], n, rng)})
    for kind, size, n in [("flat", 100, 10), ("bell", 400, 30), ("ties", 300, 20), ("bell", 49152, 4)]:
        adjusted_rows.append({"name": "%s %d" % (kind, size), "kind": kind, "n": size, "cases": adjusted_cases(generated(kind, size), n, rng)})
    for name, logits in small:
        logprob_rows.append({"name": name, "logits": ["%08x" % bits32(x) for x in logits], **logprobs(logits)})
    for kind, size in [("flat", 1000), ("bell", 49152), ("ties", 49152)]:
        logprob_rows.append({"name": "%s %d" % (kind, size), "kind": kind, "n": size, **logprobs(generated(kind, size))})

    doc = {
        "philox": [{"counter": c, "key": k, "out": philox4x32_10(c, k)} for c, k in kat],
        "uniform53": [[s, p, c, uniform53(s, p, c)] for s, p, c in uniforms],
        "rows": rows,
        "adjusted": adjusted_rows,
        "logprobs": logprob_rows,
    }
    print(json.dumps(doc, separators=(",", ":")).replace("},{", "},\n{"))


main()
