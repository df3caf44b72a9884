#!/usr/bin/env python3
"""Write the golden vectors of weights.Dequantize.

Run:   python3 dequant.py          (needs numpy and gguf; versions: SOURCES.md)

For each type it writes dequant/TYPE.bin, all little-endian:
    uint32      number of elements
    bytes       the elements as stored
    float32[]   what gguf.quants.dequantize makes of them
Half of the blocks come from gguf.quants.quantize where the package can quantise
the type; the others are random bytes with chosen binary16 scales: zero, both
signs, the smallest and largest subnormal, the smallest and largest normal.
Infinite and NaN scales are left out: the sign of 0*inf depends on the CPU.
"""

import platform
import struct
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T

SEED = 20240811
HERE = Path(__file__).resolve().parent
BLOCKS = {32: 64, 256: 24}

# Byte offsets of the binary16 fields of a block.
SCALES = {
    T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}
EXTREME = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00, 0x3555]


def random_blocks(rng, qtype, count):
    """Blocks of random bytes whose scales are extreme first, then plain."""
    blocks = rng.integers(0, 256, (count, GGML_QUANT_SIZES[qtype][1]), dtype=np.uint8)
    for k, at in enumerate(SCALES[qtype]):
        for i in range(count):
            bits = EXTREME[(i + 5 * k) % len(EXTREME)] if i < 2 * len(EXTREME) and i < 3 * count // 4 \
                else int(np.float16(rng.normal(0, 0.02)).view(np.uint16))
            blocks[i, at:at + 2] = bits & 255, bits >> 8
    return blocks


def quantised_blocks(rng, qtype, count):
    """Blocks that the package quantised: normal values, tiny, huge, constant."""
    values = rng.normal(0, 0.05, (count, GGML_QUANT_SIZES[qtype][0])).astype(np.float32)
    values[0] = 0
    values[1] = 1.5
    values[2] *= np.float32(1e-6)
    values[3] *= np.float32(1e5)
    return gguf.quants.quantize(values, qtype).reshape(count, -1)


def plain(rng, qtype):
    """Elements of an unquantised type: all exponents, subnormals, infinities."""
    if qtype == T.F32:
        bits = rng.integers(0, 2**32, 1024, dtype=np.uint32)
        bits[:6] = 0, 0x80000000, 1, 0x7F800000, 0xFF800000, 0x7FC00000
        return bits.view(np.uint8)
    bits = rng.integers(0, 2**16, 4096, dtype=np.uint16)
    nan = (bits & 0x7FFF) > (0x7C00 if qtype == T.F16 else 0x7F80)
    bits[nan] &= 0x3FFF
    bits[:6] = (0, 0x8000, 1, 0x03FF, 0x7C00, 0xFC00) if qtype == T.F16 else (0, 0x8000, 1, 0x7F, 0x7F80, 0xFF80)
    return bits.view(np.uint8)


def main():
    rng = np.random.default_rng(SEED)
    out = HERE / "dequant"
    out.mkdir(exist_ok=True)
    for qtype in (T.F32, T.F16, T.BF16, *SCALES):
        if qtype in SCALES:
            count = BLOCKS[GGML_QUANT_SIZES[qtype][0]]
            try:
                made = quantised_blocks(rng, qtype, count // 2)
                blocks = np.concatenate([made, random_blocks(rng, qtype, count - len(made))])
            except NotImplementedError:
                blocks = random_blocks(rng, qtype, count)
            stored = blocks.reshape(-1)
        else:
            stored = plain(rng, qtype)
        values = gguf.quants.dequantize(stored.copy(), qtype).astype("<f4").reshape(-1)
        if qtype in SCALES and not np.isfinite(values).all():
            raise SystemExit(f"{qtype.name}: a value is not finite")
        path = out / f"{qtype.name}.bin"
        path.write_bytes(struct.pack("<I", values.size) + stored.tobytes() + values.tobytes())
        print(f"{path.name}: {values.size} elements, {path.stat().st_size} bytes")
    print(f"python {platform.python_version()}, numpy {np.__version__}, gguf {gguf_version()}")


def gguf_version():
    from importlib.metadata import version
    return version("gguf")


if __name__ == "__main__":
    main()
