#!/usr/bin/env python3
"""Writes the tiny random models of the families beside Llama into model/testdata/tiny, with their goldens.

Each case is NAME.gguf, with the keys, names and values that llama.cpp's converter writes for the family, and
NAME.golden: what the family's class of transformers computes in float32 on the weights that NAME.gguf holds.
SOURCES.md beside this file has the formats and versions. tiny.py has what is common.

    families.py [--out DIR] [CASE ...]
    families.py --check [--out DIR] [--peer DIR] [CASE ...]     compare the peer's logits with the goldens
"""

import argparse
import pathlib
import sys
import zlib

import gguf
import numpy as np
import torch
import transformers

import tiny

HERE = pathlib.Path(__file__).resolve().parent
COMMON = dict(vocab_size=131, hidden_size=32, intermediate_size=28, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=512, pad_token_id=None, bos_token_id=1, eos_token_id=2)
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
GLOBAL = {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0}


class Case:
    """One model: its family (GGUF's name), what transformers is told, and how many tokens its golden has."""

    def __init__(self, name, arch, *, tokens=130, chat=False, **config):
        self.name, self.arch, self.tokens, self.chat = name, arch, tokens, chat
        config = {**COMMON, "head_dim": 16, "rope_parameters": PLAIN, "tie_word_embeddings": True, **config}
        if arch == "gemma3":
            config["rope_parameters"] = {"full_attention": config["rope_parameters"], "sliding_attention": PLAIN}
        kind = {"qwen2": "Qwen2", "qwen3": "Qwen3", "gemma2": "Gemma2", "gemma3": "Gemma3Text", "phi3": "Phi3", "granite": "Granite"}[arch]
        model = {"Gemma3Text": "Gemma3"}.get(kind, kind) + "ForCausalLM"
        if arch in ("qwen2", "phi3", "granite"):  # theirs is hidden / heads
            del config["head_dim"]
        self.config = getattr(transformers, kind + "Config")(**config)
        self.config._attn_implementation = "eager"
        self.model = getattr(transformers, model)
        self.vocab = self.config.vocab_size
        self.dim = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads


CASES = [
    Case("qwen2", "qwen2", hidden_size=48, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=False),
    Case("qwen2-yarn", "qwen2", tokens=400, hidden_size=64, rope_parameters=YARN),
    Case("qwen3", "qwen3", head_dim=32, num_attention_heads=6, num_key_value_heads=2, hidden_size=30),
    Case("gemma2", "gemma2", tokens=300, num_hidden_layers=4, sliding_window=40, query_pre_attn_scalar=16,
         attn_logit_softcapping=5.0, final_logit_softcapping=8.0),
    Case("gemma3", "gemma3", tokens=300, num_hidden_layers=7, intermediate_size=20, sliding_window=40, query_pre_attn_scalar=16,
         rope_parameters=GLOBAL),
    Case("phi3", "phi3", tokens=300, hidden_size=48, num_attention_heads=3, num_key_value_heads=1, sliding_window=70,
         tie_word_embeddings=False),
    Case("granite", "granite", hidden_size=48, num_attention_heads=3, num_key_value_heads=1, attention_bias=True, mlp_bias=True,
         embedding_multiplier=1.5, residual_multiplier=0.7, attention_multiplier=0.4, logits_scaling=2.5),
    Case("tiny-hybrid", "gemma3", chat=True, vocab_size=301, num_hidden_layers=7, intermediate_size=20, sliding_window=40,
         query_pre_attn_scalar=16, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
]

PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}
GEMMA = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
         "post_feedforward_layernorm": "post_ffw_norm"}


def gguf_name(case, name):
    """GGUF's name of a parameter of transformers."""
    part = name.split(".")
    if part[1] != "layers":
        return {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}[".".join(part[:-1])] + ".weight"
    parts = {**PARTS, **GEMMA} if case.arch.startswith("gemma") else PARTS
    return f"blk.{part[2]}.{parts['.'.join(part[3:-1])]}.{part[-1]}"


def plus(case, name):
    """What GGUF adds to a parameter: Gemma's norms multiply by 1 + w."""
    return 1.0 if case.arch.startswith("gemma") and "norm" in name else 0.0


def heads(case, name):
    """The heads of a parameter whose rows GGUF has in another order."""
    return {"q_proj": case.config.num_attention_heads, "k_proj": case.config.num_key_value_heads}.get(
        name.split(".")[-2]) if case.arch == "granite" else None


def stored(case, name, value):
    """What GGUF holds of a parameter."""
    value = value + np.float32(plus(case, name))
    return tiny.permute(value, heads(case, name)) if heads(case, name) else value


def taken(case, name, value):
    """The parameter of which GGUF holds value."""
    value = value - np.float32(plus(case, name))
    return tiny.unpermute(value, heads(case, name)) if heads(case, name) else value


def randomise(case, model, rng):
    """Weights whose scores and logits spread as those of tiny.py's models do."""
    gains = {"q_proj": 1.5, "k_proj": 1.5, "qkv_proj": 1.3, "o_proj": 2.0, "down_proj": 4.0, "embed_tokens": 3.0, "lm_head": 3.0}
    means = {"q_norm": 1.4, "k_norm": 1.4}
    if case.arch.startswith("gemma"):  # whose embeddings are multiplied, and would drown the layers
        gains["embed_tokens"], means["norm"] = 0.5, 6.0
    for name, p in model.named_parameters():
        part = name.split(".")[-2]
        if p.dim() == 2:
            value = rng.standard_normal(p.shape) * gains.get(part, 1.0) / np.sqrt(p.shape[1])
        elif name.endswith("bias"):
            value = 0.3 * rng.standard_normal(p.shape)
        else:
            value = means.get(part, 1.0) + 0.2 * rng.standard_normal(p.shape) - plus(case, part)
        p.data = torch.from_numpy(value.astype(np.float32))


def write_gguf(case, path, model):
    c, w = case.config, gguf.GGUFWriter(str(path), case.arch)
    w.add_name(f"holdfast {case.name}")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_vocab_size(c.vocab_size)
    if case.arch in ("phi3", "granite"):
        w.add_rope_dimension_count(case.dim)
    elif case.arch != "qwen2":
        w.add_key_length(case.dim)
        w.add_value_length(case.dim)
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    w.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] != "default":
        w.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        w.add_rope_scaling_factor(rope["factor"])
    if "original_max_position_embeddings" in rope and rope["rope_type"] == "yarn":
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if case.arch in ("gemma2", "gemma3", "phi3"):
        w.add_sliding_window(c.sliding_window)
    if case.arch == "gemma2":
        w.add_attn_logit_softcapping(c.attn_logit_softcapping)
        w.add_final_logit_softcapping(c.final_logit_softcapping)
    if case.arch == "granite":
        w.add_attention_scale(c.attention_multiplier)
        w.add_embedding_scale(c.embedding_multiplier)
        w.add_residual_scale(c.residual_multiplier)
        w.add_logit_scale(c.logits_scaling)
    if case.chat:
        tiny.add_vocabulary(w, case.vocab)
    else:
        w.add_tokenizer_model("no_vocab")
    for name, p in model.named_parameters():
        w.add_tensor(gguf_name(case, name), stored(case, name, p.detach().numpy()))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def build(case, out):
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    model = case.model(case.config).to(torch.float32).eval()
    randomise(case, model, rng)
    path = out / f"{case.name}.gguf"
    write_gguf(case, path, model)
    # What the file holds, where adding 1 has rounded.
    held = {t.name: t.data for t in gguf.GGUFReader(str(path)).tensors}
    for name, p in model.named_parameters():
        p.data = torch.from_numpy(taken(case, name, held[gguf_name(case, name)].reshape(p.shape)))
    tiny.finish(case, out, path, model, rng)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=pathlib.Path, default=HERE / "tiny")
    p.add_argument("--peer", type=pathlib.Path, default=tiny.ROOT / "build/peer")
    p.add_argument("--check", action="store_true")
    p.add_argument("cases", nargs="*")
    a = p.parse_args()
    torch.set_num_threads(1)
    for case in CASES:
        if a.cases and case.name not in a.cases:
            continue
        if a.check:
            tiny.check(case, a.out, a.peer / "holdfast-peer-logits")
        else:
            build(case, a.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
