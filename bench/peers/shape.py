#!/usr/bin/env python3
"""Writes a GGUF model of Llama 3.2 1B's shape with random weights, in the types that llama-quantize would choose.

    bench/peers/shape.py q4_0|q4_k_m FILE

Speed depends on sizes and types, not on values. Every tensor repeats a megabyte of random blocks with plausible scales,
so that the same seed gives the same file. The vocabulary is that of bytes and made-up tokens. Needs Python 3 alone.
"""

import os
import pathlib
import random
import struct
import sys

LAYERS, WIDTH, FEED, HEADS, KV_HEADS, VOCAB = 16, 2048, 8192, 32, 8, 128256
F32, Q4_0, Q4_K, Q6_K = 0, 2, 12, 14  # GGML's numbers of types
BLOCK = {F32: (1, 4), Q4_0: (32, 18), Q4_K: (256, 144), Q6_K: (256, 210)}  # values, bytes
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5  # GGUF's numbers of kinds
ALIGN = 32


def types(kind):
    """The type of a matrix by its name and layer."""
    if kind == "q4_0":
        return lambda name, i: Q6_K if name == "token_embd" else Q4_0

    def q4_k_m(name, i):
        more = i is not None and (i < LAYERS // 8 or i >= 7 * LAYERS // 8 or (i - LAYERS // 8) % 3 == 2)
        return Q6_K if name == "token_embd" or more and name in ("attn_v", "ffn_down") else Q4_K

    return q4_k_m


def tensors(kind):
    """(name, shape with the fastest dimension first, type) of each tensor."""
    of, kv = types(kind), WIDTH // HEADS * KV_HEADS
    yield "token_embd.weight", (WIDTH, VOCAB), of("token_embd", None)
    yield "output_norm.weight", (WIDTH,), F32
    for i in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{i}.{name}.weight", (WIDTH,), F32
        for name, shape in (("attn_q", (WIDTH, WIDTH)), ("attn_k", (WIDTH, kv)), ("attn_v", (WIDTH, kv)), ("attn_output", (WIDTH, WIDTH)),
                            ("ffn_gate", (WIDTH, FEED)), ("ffn_up", (WIDTH, FEED)), ("ffn_down", (FEED, WIDTH))):
            yield f"blk.{i}.{name}.weight", shape, of(name, i)


def size(shape, kind):
    values, bytes_ = BLOCK[kind]
    n = 1
    for d in shape:
        n *= d
    return n // values * bytes_


def block(rng, kind):
    """One block of values of about 0.02 around zero."""
    half = lambda x: struct.pack("<e", x)
    if kind == F32:
        return struct.pack("<f", 1)  # a norm's
    if kind == Q4_0:
        return half(0.005) + rng.randbytes(16)
    if kind == Q4_K:  # scales and minima of 6 bits, then 256 quants of 4
        return half(0.0001) + half(0.00075) + rng.randbytes(12) + rng.randbytes(128)
    return rng.randbytes(192) + bytes(rng.randrange(20, 60) for _ in range(16)) + half(0.00003)


def text(s):
    return struct.pack("<Q", len(s)) + s


def entry(key, kind, value):
    return text(key.encode()) + struct.pack("<I", kind) + value


def array(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def vocabulary():
    """Bytes as GPT-2 spells them, made-up tokens, and the two that begin and end a text."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    tokens = [chr(b) for b in plain] + [chr(256 + i) for i in range(len(rest))]
    tokens += [f"<made up {i}>" for i in range(256, VOCAB)]
    return [t.encode() for t in tokens], [1] * 256 + [5] * (VOCAB - 256 - 2) + [3, 3]  # normal, unused, control


def header(kind):
    number = lambda n: struct.pack("<I", n)
    tokens, kinds = vocabulary()
    meta = [
        entry("general.architecture", STRING, text(b"llama")),
        entry("general.name", STRING, text(b"random weights in the shape of Llama 3.2 1B")),
        entry("llama.block_count", UINT32, number(LAYERS)),
        entry("llama.context_length", UINT32, number(8192)),
        entry("llama.embedding_length", UINT32, number(WIDTH)),
        entry("llama.feed_forward_length", UINT32, number(FEED)),
        entry("llama.attention.head_count", UINT32, number(HEADS)),
        entry("llama.attention.head_count_kv", UINT32, number(KV_HEADS)),
        entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", 1e-5)),
        entry("llama.rope.freq_base", FLOAT32, struct.pack("<f", 500000)),
        entry("llama.rope.dimension_count", UINT32, number(WIDTH // HEADS)),
        entry("llama.vocab_size", UINT32, number(VOCAB)),
        entry("tokenizer.ggml.model", STRING, text(b"gpt2")),
        entry("tokenizer.ggml.pre", STRING, text(b"llama-bpe")),
        entry("tokenizer.ggml.tokens", ARRAY, array(STRING, [text(t) for t in tokens])),
        entry("tokenizer.ggml.token_type", ARRAY, array(INT32, [struct.pack("<i", k) for k in kinds])),
        entry("tokenizer.ggml.merges", ARRAY, array(STRING, [])),
        entry("tokenizer.ggml.bos_token_id", UINT32, number(VOCAB - 2)),
        entry("tokenizer.ggml.eos_token_id", UINT32, number(VOCAB - 1)),
        entry("general.file_type", UINT32, number({"q4_0": 2, "q4_k_m": 15}[kind])),
    ]
    infos, at = [], 0
    for name, shape, t in tensors(kind):
        infos.append(text(name.encode()) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, t, at))
        at += -(-size(shape, t) // ALIGN) * ALIGN
    out = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(meta)) + b"".join(meta) + b"".join(infos)
    return out + bytes(-len(out) % ALIGN)


def write(kind, path):
    rng = random.Random(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with open(part, "wb") as f:
        f.write(header(kind))
        patterns = {t: b"".join(block(rng, t) for _ in range((1 << 20) // BLOCK[t][1])) for t in BLOCK}
        for _, shape, t in tensors(kind):
            n, pattern = size(shape, t), patterns[t]
            for done in range(0, n, len(pattern)):
                f.write(pattern[:n - done])
            f.write(bytes(-n % ALIGN))
    os.replace(part, path)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("q4_0", "q4_k_m"):
        sys.exit(__doc__)
    write(sys.argv[1], pathlib.Path(sys.argv[2]))
