#!/usr/bin/env python3
"""Write quant.bin: float32 values, and what the gguf package's quantize makes of them.

Run:   python3 quant.py > quant.bin      (versions: SOURCES.md)

Little-endian: "HFQU", number of values n, n float32, then the n values as Q8_0 and as Q4_0.
"""

import struct
import sys

import gguf
import numpy as np

BLOCKS = 96


def values():
    rng = np.random.default_rng(20261123)
    x = rng.standard_normal((BLOCKS, 32)).astype(np.float32)
    x[0] = 0
    x[1] = -x[1, 0]                        # all equal
    x[2] = np.arange(32) * 0.5 - 8         # halves: ties of both types
    x[3] = 8 - np.arange(32) * 0.5
    x[4, ::2] = 127                        # Q8_0's scale is 1, the rest ties
    x[4, 1::2] = np.arange(16) - 7.5
    x[5] = 0
    x[5, 7], x[5, 9] = -3, 3               # the first of two largest
    x[6] = 0
    x[6, 7], x[6, 9] = 3, -3
    x[7] *= 1e-7                           # a subnormal scale
    x[8] *= 1e-12                          # a scale that becomes 0
    x[9] *= 2e5
    x[10:40] *= np.exp(rng.uniform(-8, 8, (30, 1))).astype(np.float32)
    x[40:60] = x[40:60].astype(np.float16)
    x[60:64] = near_halves(rng)
    return x


def near_halves(rng):
    """Blocks with a quant of Q4_0 that differs if the steps before it are not rounded to float32."""
    found = []
    while len(found) < 4:
        x = rng.standard_normal((1 << 14, 32)).astype(np.float32)
        largest = np.take_along_axis(x, abs(x).argmax(axis=1, keepdims=True), axis=1)
        inverse = np.float32(1) / (largest / np.float32(-8))
        exact = x.astype(np.float64) * inverse.astype(np.float64) + 8.5
        found += list(x[(np.trunc(x * inverse + np.float32(8.5)) != np.trunc(exact)).any(axis=1)])
    return found[:4]


def main():
    x = values()
    out = sys.stdout.buffer
    out.write(b"HFQU" + struct.pack("<I", x.size) + x.astype("<f4").tobytes())
    for t in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
        out.write(gguf.quants.quantize(x, t).tobytes())


if __name__ == "__main__":
    main()
