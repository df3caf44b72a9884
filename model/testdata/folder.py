#!/usr/bin/env python3
"""Writes a GGUF model as a folder of safetensors, as published on Hugging Face's hub: the same values, under
transformers' names and in its layout (Q and K of Llama un-permuted; Gemma's norms less 1).

    folder.py MODEL.gguf OUT [--type F32|F16|BF16] [--shards N] [--gguf FILE]

Matrices keep a type that safetensors has, and become F32 if they are quantised; --type gives all of them one type.
Vectors are F32. --gguf writes the same values, in the same types, as a GGUF file beside. Architectures: llama, gemma3.
Versions: SOURCES.md.
"""

import argparse
import json
import pathlib
import struct

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V

NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}
GEMMA = {"post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
         "post_ffw_norm": "post_feedforward_layernorm"}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


class Model:
    """A GGUF file, and what transformers would call its parts."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(str(path))
        self.arch = self.get("general.architecture")
        assert self.arch in ("llama", "gemma3"), self.arch
        assert all(t.name != "rope_freqs.weight" for t in self.reader.tensors), "RoPE divisors have no place in config.json"

    def get(self, key, default=None):
        field = self.reader.get_field(key.replace("ARCH", getattr(self, "arch", "")))
        return default if field is None else field.contents()

    def name(self, name):
        part = name.split(".")
        if part[0] != "blk":
            return OUTER[part[0]] + ".weight"
        names = {**NAMES, **GEMMA} if self.arch == "gemma3" else NAMES
        return f"model.layers.{part[1]}.{names[part[2]]}.{part[3]}"

    def tensor_type(self, tensor, wanted):
        if len(tensor.shape) == 1:
            return T.F32
        if wanted is not None:
            return wanted
        return tensor.tensor_type if tensor.tensor_type in (T.F32, T.F16, T.BF16) else T.F32

    def values(self, tensor, qtype):
        """The tensor's values, in the layout of GGUF, as qtype."""
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        return gguf.quants.quantize(value, qtype).reshape(*value.shape[:-1], -1)

    def to_transformers(self, name, value):
        """The same in the layout of transformers. BF16 comes as bytes."""
        if self.arch == "gemma3" and "norm" in name:
            less = value - np.float32(1)
            assert ((less + np.float32(1)).view(np.uint32) == value.view(np.uint32)).all(), name
            return less
        heads = {"attn_q": "ARCH.attention.head_count", "attn_k": "ARCH.attention.head_count_kv"}
        for part, key in heads.items():
            if self.arch == "llama" and f".{part}." in name:
                n = self.get(key)
                return value.reshape(n, value.shape[0] // n // 2, 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
        return value

    def config(self):
        heads, width = self.get("ARCH.attention.head_count"), self.get("ARCH.embedding_length")
        tied = all(t.name != "output.weight" for t in self.reader.tensors)
        theta = float(self.get("ARCH.rope.freq_base", 10000.0))
        c = {
            "num_hidden_layers": self.get("ARCH.block_count"), "hidden_size": width, "num_attention_heads": heads,
            "num_key_value_heads": self.get("ARCH.attention.head_count_kv", heads),
            "intermediate_size": self.get("ARCH.feed_forward_length"),
            "head_dim": self.get("ARCH.attention.key_length", width // heads),
            "max_position_embeddings": self.get("ARCH.context_length"), "tie_word_embeddings": tied,
            "rms_norm_eps": float(np.float32(self.get("ARCH.attention.layer_norm_rms_epsilon"))),
            "vocab_size": next(int(t.shape[1]) for t in self.reader.tensors if t.name == "token_embd.weight"),
        }
        if self.arch == "llama":
            assert self.get("ARCH.rope.scaling.type") is None
            return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rope_theta": theta, **c}
        return {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh",
                "rope_theta": theta, "rope_local_base_freq": 10000.0, "sliding_window": self.get("ARCH.attention.sliding_window"),
                "sliding_window_pattern": 6, "query_pre_attn_scalar": c["head_dim"], **c}


# --- the vocabulary --------------------------------------------------------------------------------------------------

PRE = {
    "gpt-2": [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}],
    "smollm": [{"type": "Digits", "individual_digits": True},
               {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}],
}


def tokenizer_json(m):
    tokens, kinds = m.get("tokenizer.ggml.tokens"), m.get("tokenizer.ggml.token_type")
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, (t, k) in enumerate(zip(tokens, kinds)) if k == gguf.TokenType.CONTROL]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE[m.get("tokenizer.ggml.pre")]}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": m.get("tokenizer.ggml.merges")},
    }


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def sentence_model(m):
    """A tokenizer.model (google/sentencepiece, src/sentencepiece_model.proto): pieces, trainer, normaliser."""
    def number(field, n):
        return varint(field << 3) + varint(n)

    def message(field, body):
        return varint(field << 3 | 2) + varint(len(body)) + body

    out = []
    for token, score, kind in zip(m.get("tokenizer.ggml.tokens"), m.get("tokenizer.ggml.scores"), m.get("tokenizer.ggml.token_type")):
        raw = token.encode()
        out.append(message(1, message(1, raw) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, int(kind))))
    ids = {40: "unknown", 41: "bos", 42: "eos", 43: "padding"}
    trainer = number(3, 2) + number(35, 1)
    for field, name in ids.items():
        trainer += number(field, m.get(f"tokenizer.ggml.{name}_token_id", -1))
    prefix = int(m.get("tokenizer.ggml.add_space_prefix", True))
    return b"".join(out) + message(2, trainer) + message(3, number(3, prefix) + number(4, 0) + number(5, 1))


def write_vocabulary(m, out):
    kind = m.get("tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        return
    tokens = m.get("tokenizer.ggml.tokens")
    config = {"add_bos_token": bool(m.get("tokenizer.ggml.add_bos_token", kind == "llama"))}
    for name in ("bos", "eos"):
        config[f"{name}_token"] = tokens[m.get(f"tokenizer.ggml.{name}_token_id")]
    if kind == "gpt2":
        (out / "tokenizer.json").write_text(json.dumps(tokenizer_json(m), ensure_ascii=False), encoding="utf-8")
    else:
        (out / "tokenizer.model").write_bytes(sentence_model(m))
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    ends = [m.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")]
    (out / "generation_config.json").write_text(json.dumps({"eos_token_id": [e for e in ends if e is not None]}))
    if template := m.get("tokenizer.chat_template"):
        (out / "chat_template.jinja").write_text(template, encoding="utf-8")


# --- the weights -----------------------------------------------------------------------------------------------------

def write_safetensors(path, m, tensors, wanted):
    """One tensor after another, so that a large model needs memory for one only."""
    header, offset = {}, 0
    for t in tensors:
        qtype = m.tensor_type(t, wanted)
        shape = [int(d) for d in reversed(t.shape)]
        size = int(np.prod(shape)) * (4 if qtype == T.F32 else 2)
        header[m.name(t.name)] = {"dtype": qtype.name, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        for t in tensors:
            f.write(np.ascontiguousarray(m.to_transformers(t.name, m.values(t, m.tensor_type(t, wanted)))).tobytes())
    return list(header)


def write_gguf(path, m, wanted):
    w = gguf.GGUFWriter(str(path), m.arch)
    for field in m.reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            sub = field.types[-1] if field.types[0] == V.ARRAY else None
            w.add_key_value(field.name, field.contents(), field.types[0], sub_type=sub)
    for t in m.reader.tensors:
        qtype = m.tensor_type(t, wanted)
        w.add_tensor(t.name, m.values(t, qtype), raw_dtype=qtype if qtype == T.BF16 else None)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--type", choices=["F32", "F16", "BF16"])
    p.add_argument("--shards", type=int, default=1)
    p.add_argument("--gguf", type=pathlib.Path)
    a = p.parse_args()
    m, wanted = Model(a.model), T[a.type] if a.type else None
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "config.json").write_text(json.dumps(m.config(), indent=1))
    write_vocabulary(m, a.out)
    tensors = list(m.reader.tensors)
    if a.shards == 1:
        write_safetensors(a.out / "model.safetensors", m, tensors, wanted)
    else:
        index, size = {}, -(-len(tensors) // a.shards)
        for i in range(a.shards):
            name = f"model-{i + 1:05}-of-{a.shards:05}.safetensors"
            for tensor in write_safetensors(a.out / name, m, tensors[i * size:(i + 1) * size], wanted):
                index[tensor] = name
        (a.out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}, indent=1))
    if a.gguf:
        write_gguf(a.gguf, m, wanted)


if __name__ == "__main__":
    main()
