#!/usr/bin/env python3
"""Write smollm2.json: what the gguf package reads from the SmolLM2 model.

Run:   python3 smollm2.py MODEL.gguf > smollm2.json      (versions: SOURCES.md)
"""

import hashlib
import json
import sys

import gguf
import numpy as np

TENSORS = (
    "token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight",
    "blk.17.attn_norm.weight", "blk.29.ffn_up.weight",
)

ROWS = 512


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def values(tensor):
    """The float32 values of the first ROWS rows of a matrix, or of a whole vector."""
    data = tensor.data[:ROWS] if len(tensor.shape) > 1 else tensor.data
    return gguf.quants.dequantize(data, tensor.tensor_type).astype("<f4")


def listing(strings):
    """SHA-256 over the strings, each behind its 32-bit little-endian length."""
    digest = hashlib.sha256()
    for s in strings:
        raw = s.encode()
        digest.update(len(raw).to_bytes(4, "little") + raw)
    return digest.hexdigest()


def main():
    reader = gguf.GGUFReader(sys.argv[1])
    fields = {k: f for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    tensors = {t.name: t for t in reader.tensors}
    out = {
        "keys": list(fields),
        "uint": {k: f.contents() for k, f in fields.items() if f.types == [gguf.GGUFValueType.UINT32]},
        "float": {k: f.contents() for k, f in fields.items() if f.types == [gguf.GGUFValueType.FLOAT32]},
        "strings": {k: listing(f.contents()) for k, f in fields.items()
                    if f.types[0] == gguf.GGUFValueType.ARRAY and f.types[-1] == gguf.GGUFValueType.STRING},
        "token_type_sum": sum(fields["tokenizer.ggml.token_type"].contents()),
        "tensors": {"count": len(reader.tensors), "names": listing(t.name for t in reader.tensors)},
        "samples": [{
            "name": name,
            "type": tensors[name].tensor_type.name,
            "shape": [int(d) for d in reversed(tensors[name].shape)],
            "data": sha(tensors[name].data),
            "values": sha(values(tensors[name])),
        } for name in TENSORS],
    }
    json.dump(out, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
