#!/usr/bin/env python3
"""Writes the tiny random Llama models of model/testdata/tiny and their goldens.

Each case is NAME.gguf, laid out as llama.cpp's converter lays out a Llama (Q and
K rows permuted for interleaved RoPE pairs), and NAME.golden: what transformers'
LlamaForCausalLM computes in float32 on the weights that NAME.gguf holds after
dequantisation. SOURCES.md beside this file has the formats and versions.

    tiny.py [--out DIR] [--peer DIR] [CASE ...]
    tiny.py --check [--out DIR] [--peer DIR] [CASE ...]

--peer is where bench/peers/build.sh has put the peer (build/peer): the gguf
package has no quantiser for Q4_K, Q5_K and Q6_K. --check writes no models; it
compares the peer's own logits with the goldens.
"""

import argparse
import ctypes
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EDGES = (0, 1, 31, 32, 33, 63, 64, 127, 255, 256, 257)


class Case:
    """One model: its shape, its types, and how many tokens its golden has."""

    def __init__(self, name, *, hidden, heads, kv, dim, ffn, vocab, tokens, layers=2, tied=False, bias=False,
                 rope=None, theta=10000.0, eps=1e-5, types=None, window=None, chat=False):
        self.name, self.hidden, self.heads, self.kv, self.dim = name, hidden, heads, kv, dim
        self.ffn, self.vocab, self.tokens, self.layers = ffn, vocab, tokens, layers
        self.tied, self.bias, self.rope, self.theta, self.eps = tied, bias, rope or {}, theta, eps
        self.types, self.window, self.chat = types or {}, window, chat

    def type_of(self, tensor):
        """The storage type of a matrix: by its kind (attn_q, ...), else the default."""
        kind = tensor.split(".")[-2]
        return self.types.get(kind, self.types.get("*", T.F32))


def small(name, qtype):
    """Rows of 256 in a type with blocks of at most 32 weights (attn_output and ffn_down: rows of 32)."""
    return Case(name, hidden=256, heads=2, kv=1, dim=16, ffn=32, vocab=35, tokens=70, tied=True, types={"*": qtype})


def half(name, qtype):
    """Rows of 256 in a 16-bit type."""
    return Case(name, hidden=256, heads=1, kv=1, dim=16, ffn=16, vocab=35, tokens=70, tied=True, types={"*": qtype})


def super_(name, qtype, **extra):
    """Rows of 512 (two super-blocks); attn_output and ffn_down have rows of 32, so they are Q4_0."""
    tied = "output" not in extra
    types = {"*": qtype, "attn_output": T.Q4_0, "ffn_down": T.Q4_0, **extra}
    return Case(name, hidden=512, heads=2, kv=1, dim=16, ffn=32, vocab=35, tokens=70, tied=tied, types=types)


LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
LINEAR = dict(rope_type="linear", factor=4.0)

CASES = [
    Case("mha-odd", hidden=42, heads=3, kv=3, dim=16, ffn=26, vocab=131, tokens=70, tied=True),
    Case("gqa4-d64", hidden=16, heads=4, kv=1, dim=64, ffn=40, vocab=257, tokens=300, tied=True),
    Case("gqa8-d128", hidden=8, heads=8, kv=1, dim=128, ffn=24, vocab=509, tokens=130, types={"*": T.F16}),
    Case("bias-untied", hidden=30, heads=6, kv=3, dim=16, ffn=36, vocab=67, tokens=96, bias=True, eps=1e-6),
    Case("rope-linear", hidden=33, heads=3, kv=1, dim=16, ffn=40, vocab=131, tokens=270, tied=True, rope=LINEAR),
    Case("rope-llama3", hidden=32, heads=4, kv=1, dim=32, ffn=28, vocab=131, tokens=300, tied=True, rope=LLAMA3,
         theta=500000.0),
    Case("window", hidden=32, heads=4, kv=2, dim=16, ffn=28, vocab=131, tokens=400, tied=True, window=40),
    half("f16", T.F16),
    half("bf16", T.BF16),
    small("q8_0", T.Q8_0),
    small("q4_0", T.Q4_0),
    small("q4_1", T.Q4_1),
    small("q5_0", T.Q5_0),
    small("q5_1", T.Q5_1),
    super_("q4_k", T.Q4_K, output=T.Q6_K),
    super_("q5_k", T.Q5_K),
    super_("q6_k", T.Q6_K),
    Case("tiny-chat", hidden=32, heads=4, kv=2, dim=16, ffn=32, vocab=301, tokens=0, chat=True),
    Case("tiny-window", hidden=32, heads=4, kv=2, dim=16, ffn=32, vocab=301, tokens=0, window=40, chat=True),
]


def permute(w, heads):
    """HF keeps a head's RoPE pairs as (i, i + dim/2); GGUF's llama keeps them as (2i, 2i + 1)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


class Quantiser:
    def __init__(self, library):
        self.library = library
        self.ggml = None

    def __call__(self, w, qtype):
        """The rows of w in qtype: float32/float16 values or raw bytes, as gguf.quants.quantize returns them."""
        if qtype not in (T.Q4_K, T.Q5_K, T.Q6_K):
            return gguf.quants.quantize(w, qtype)
        if self.ggml is None:
            self.ggml = ctypes.CDLL(str(self.library))
            self.ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
            self.ggml.ggml_quantize_chunk.argtypes = [
                ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                ctypes.c_void_p]
        w = np.ascontiguousarray(w, dtype=np.float32)
        block, size = gguf.GGML_QUANT_SIZES[qtype]
        out = np.empty((w.shape[0], w.shape[1] // block * size), dtype=np.uint8)
        n = self.ggml.ggml_quantize_chunk(int(qtype), w.ctypes.data, out.ctypes.data, 0, w.shape[0], w.shape[1], None)
        assert n == out.nbytes, (n, out.nbytes)
        return out


def weights(case, rng):
    """GGUF tensors by name in GGUF's (permuted) layout, float32, before quantisation."""
    def matrix(rows, cols, gain=1.0):
        return (rng.standard_normal((rows, cols)) * gain / np.sqrt(cols)).astype(np.float32)

    def norm():
        return (1 + 0.2 * rng.standard_normal(case.hidden)).astype(np.float32)

    def vector(n):
        return (0.3 * rng.standard_normal(n)).astype(np.float32)

    q, kv = case.heads * case.dim, case.kv * case.dim
    out = {"token_embd.weight": matrix(case.vocab, case.hidden, 3.0)}
    for i in range(case.layers):
        b = f"blk.{i}."
        out[b + "attn_norm.weight"] = norm()
        # A gain of 1.5 gives scores a deviation of about 2, so that attention is far from uniform.
        out[b + "attn_q.weight"] = matrix(q, case.hidden, 1.5)
        out[b + "attn_k.weight"] = matrix(kv, case.hidden, 1.5)
        out[b + "attn_v.weight"] = matrix(kv, case.hidden)
        out[b + "attn_output.weight"] = matrix(case.hidden, q, 2.0)
        if case.bias:
            out[b + "attn_q.bias"], out[b + "attn_k.bias"] = vector(q), vector(kv)
            out[b + "attn_v.bias"], out[b + "attn_output.bias"] = vector(kv), vector(case.hidden)
        out[b + "ffn_norm.weight"] = norm()
        out[b + "ffn_gate.weight"] = matrix(case.ffn, case.hidden)
        out[b + "ffn_up.weight"] = matrix(case.ffn, case.hidden)
        out[b + "ffn_down.weight"] = matrix(case.hidden, case.ffn, 4.0)
    out["output_norm.weight"] = norm()
    if not case.tied:
        out["output.weight"] = matrix(case.vocab, case.hidden, 3.0)
    if case.rope.get("rope_type") == "llama3":
        out["rope_freqs.weight"] = llama3_factors(case)
    return out


def llama3_factors(case):
    """The divisors of the RoPE frequencies, in the form in which llama.cpp's converter stores them."""
    r = case.rope
    freqs = 1.0 / (case.theta ** (np.arange(0, case.dim, 2, dtype=np.float32) / np.float32(case.dim)))
    context, low, high, factor = (r["original_max_position_embeddings"], r["low_freq_factor"], r["high_freq_factor"],
                                  r["factor"])
    out, kinds = [], set()
    for wave in 2 * np.pi / freqs:
        if wave < context / high:
            kinds.add("kept")
            out.append(1.0)
        elif wave > context / low:
            kinds.add("divided")
            out.append(factor)
        else:
            kinds.add("smoothed")
            smooth = (context / wave - low) / (high - low)
            out.append(1 / ((1 - smooth) / factor + smooth))
    assert len(kinds) == 3, kinds
    return np.array(out, dtype=np.float32)


# --- the vocabulary of tiny-chat -------------------------------------------------------------------------------------

TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a tiny model<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PROMPT = ("<|im_start|>system\nYou are a tiny model<|im_end|>\n<|im_start|>user\nHello there, who are you?<|im_end|>\n"
          "<|im_start|>assistant\n")
CORPUS = """the model and the user say that the assistant is here: the user asks, the assistant answers, and the
system watches. You are a tiny model. Hello there, who are you? I am the tiny model that you are talking to.
"""
GENERATED = 64


def vocabulary(size):
    """A byte-level BPE: control tokens first, then the 256 bytes, then the products of the merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([CORPUS], trainers.BpeTrainer(
        vocab_size=size, special_tokens=CONTROL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False))
    t.add_special_tokens([AddedToken(c, special=True, normalized=False) for c in CONTROL])
    import json
    merges = [m if isinstance(m, str) else " ".join(m) for m in json.loads(t.to_str())["model"]["merges"]]
    tokens = [t.id_to_token(i) for i in range(t.get_vocab_size())]
    assert len(tokens) == size, len(tokens)
    return t, tokens, merges


def add_vocabulary(w, size):
    """Its keys, and the chat template."""
    _, tokens, merges = vocabulary(size)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([int(gguf.TokenType.CONTROL if t in CONTROL else gguf.TokenType.NORMAL) for t in tokens])
    w.add_token_merges(merges)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_pad_token_id(2)
    w.add_add_bos_token(False)
    w.add_add_space_prefix(False)
    w.add_chat_template(TEMPLATE)


# --- files -----------------------------------------------------------------------------------------------------------

def write_gguf(case, path, tensors, quantise):
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_name(f"holdfast {case.name}")
    w.add_block_count(case.layers)
    w.add_context_length(512)
    w.add_embedding_length(case.hidden)
    w.add_feed_forward_length(case.ffn)
    w.add_head_count(case.heads)
    w.add_head_count_kv(case.kv)
    w.add_key_length(case.dim)
    w.add_value_length(case.dim)
    w.add_rope_freq_base(case.theta)
    w.add_layer_norm_rms_eps(case.eps)
    w.add_vocab_size(case.vocab)
    w.add_rope_dimension_count(case.dim)
    if case.window:
        w.add_sliding_window(case.window)
    if case.rope.get("rope_type") == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(case.rope["factor"])
    if case.chat:
        add_vocabulary(w, case.vocab)
    else:
        w.add_tokenizer_model("no_vocab")
    for name, value in tensors.items():
        if value.ndim == 1:
            w.add_tensor(name, value)
            continue
        qtype = case.type_of(name)
        data = quantise(value, qtype)
        w.add_tensor(name, data, raw_dtype=None if qtype in (T.F32, T.F16) else qtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def reference(case, path):
    """transformers' model on the weights of the file at path."""
    rope = {"rope_type": "default", **case.rope, "rope_theta": case.theta}
    # Mistral is Llama with a window.
    config_class, model_class, own = LlamaConfig, LlamaForCausalLM, {"attention_bias": case.bias}
    if case.window:
        config_class, model_class, own = MistralConfig, MistralForCausalLM, {"sliding_window": case.window}
    config = config_class(
        vocab_size=case.vocab, hidden_size=case.hidden, intermediate_size=case.ffn, num_hidden_layers=case.layers,
        num_attention_heads=case.heads, num_key_value_heads=case.kv, head_dim=case.dim, rms_norm_eps=case.eps,
        max_position_embeddings=512, tie_word_embeddings=case.tied, rope_parameters=rope, **own)
    config._attn_implementation = "eager"
    model = model_class(config).to(torch.float32).eval()
    state = {}
    names = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    for t in gguf.GGUFReader(str(path)).tensors:
        value = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        part = t.name.split(".")
        if part[0] == "rope_freqs":
            continue
        if part[0] == "blk":
            if part[2] == "attn_q":
                value = unpermute(value, case.heads)
            if part[2] == "attn_k":
                value = unpermute(value, case.kv)
            name = f"model.layers.{part[1]}.{names[part[2]]}.{part[3]}"
        else:
            name = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}[part[0]] + ".weight"
        state[name] = torch.from_numpy(value.copy())
    if case.tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    missing, unexpected = model.load_state_dict(state, strict=True)
    assert not missing and not unexpected
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == case.tied
    return model


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens], dtype=torch.long), use_cache=False).logits[0].float().numpy()


def write_golden(case, path, tokens, prompt, logits):
    n, vocab = logits.shape
    assert n == len(tokens) and vocab == case.vocab and np.isfinite(logits).all()
    ordered = np.sort(logits, axis=1)
    positions = sorted({p for p in EDGES if p < n} | {n - 2, n - 1})
    if case.chat:
        positions = sorted(set(positions) | {prompt - 1})
    with open(path, "wb") as f:
        f.write(b"HFTINY01")
        f.write(struct.pack("<4I", n, prompt, vocab, len(positions)))
        f.write(np.asarray(tokens, dtype="<i4").tobytes())
        f.write(logits.argmax(axis=1).astype("<i4").tobytes())
        f.write((ordered[:, -1] - ordered[:, -2]).astype("<f4").tobytes())
        f.write(np.asarray(positions, dtype="<i4").tobytes())
        f.write(logits[positions].astype("<f4").tobytes())


def build(case, out, quantise):
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    path = out / f"{case.name}.gguf"
    write_gguf(case, path, weights(case, rng), quantise)
    finish(case, out, path, reference(case, path), rng)


def finish(case, out, path, model, rng):
    """Writes the golden of a model, and says what it is like."""
    if case.chat:
        t, _, _ = vocabulary(case.vocab)
        tokens = t.encode(PROMPT, add_special_tokens=False).ids
        prompt = len(tokens)
        for _ in range(GENERATED):
            tokens.append(int(logits_of(model, tokens)[-1].argmax()))
        assert not set(tokens[prompt:]) & {0, 1, 2}, "the greedy continuation ends early: choose another seed"
    else:
        tokens = rng.integers(0, case.vocab, case.tokens).tolist()
        prompt = case.tokens
    logits = logits_of(model, tokens)
    write_golden(case, out / f"{case.name}.golden", tokens, prompt, logits)
    top = np.sort(logits, axis=1)
    gap = top[:, -1] - top[:, -2]
    print(f"{case.name:12} {path.stat().st_size:7} B  tokens {len(tokens):3} (prompt {prompt})  logits sd {logits.std():.2f}"
          f"  top gap min {gap.min():.4f} median {np.median(gap):.2f}"
          f"  repeats {np.mean(logits.argmax(axis=1) == np.array(tokens)):.2f}")
    if case.chat:
        print("  ", repr(t.decode(tokens[prompt:])), "gap of the continuation", gap[prompt - 1:].min())


def check(case, out, program):
    data = (out / f"{case.name}.golden").read_bytes()
    assert data[:8] == b"HFTINY01"
    n, _, vocab, count = struct.unpack_from("<4I", data, 8)
    tokens, best = np.frombuffer(data, "<i4", 2 * n, 24).reshape(2, n)
    positions = np.frombuffer(data, "<i4", count, 24 + 12 * n)
    rows = np.frombuffer(data, "<f4", count * vocab, 24 + 12 * n + 4 * count).reshape(count, vocab)
    with tempfile.TemporaryDirectory() as d:
        ids, got = pathlib.Path(d, "tokens"), pathlib.Path(d, "logits")
        tokens.tofile(ids)
        subprocess.run([program, out / f"{case.name}.gguf", ids, got, str(n), "0", "f32"], check=True)
        peer = np.fromfile(got, "<f4").reshape(n, vocab)
    print(f"{case.name:12} greatest difference {np.abs(peer[positions] - rows).max():.1e}, "
          f"same first choice {(peer.argmax(axis=1) == best).mean():.3f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=pathlib.Path, default=HERE / "tiny")
    p.add_argument("--peer", type=pathlib.Path, default=ROOT / "build/peer")
    p.add_argument("--check", action="store_true")
    p.add_argument("cases", nargs="*")
    a = p.parse_args()
    torch.set_num_threads(1)
    a.out.mkdir(parents=True, exist_ok=True)
    quantise = Quantiser(a.peer / "bin/libggml-base.so")
    for case in CASES:
        if a.cases and case.name not in a.cases:
            continue
        if a.check:
            check(case, a.out, a.peer / "holdfast-peer-logits")
        else:
            build(case, a.out, quantise)
    return 0


if __name__ == "__main__":
    sys.exit(main())
