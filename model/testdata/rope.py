#!/usr/bin/env python3
"""Writes rope.json: the frequencies and the magnitude that transformers gives each RoPE scaling that model/rope.go has.

    rope.py
"""

import json
import pathlib

import torch
import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CASES = [
    {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "original_max_position_embeddings": 32768},
    {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "original_max_position_embeddings": 2048, "beta_fast": 24.0,
     "beta_slow": 2.0, "attention_factor": 1.5},
    {"rope_type": "yarn", "rope_theta": 150.0, "factor": 2.0, "original_max_position_embeddings": 8},
    {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 8192},
    {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 64},
]

out = {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0], "cases": []}
for parameters in CASES:
    for dim in (16, 64, 128):
        config = LlamaConfig(hidden_size=dim, num_attention_heads=1, rope_parameters=dict(parameters),
                             max_position_embeddings=int(parameters["factor"] * parameters.get("original_max_position_embeddings", 64)))
        freqs, magnitude = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, "cpu")
        out["cases"].append({**parameters, "dim": dim, "freqs": [float(f"{f:.8g}") for f in freqs.tolist()], "magnitude": magnitude})
path = pathlib.Path(__file__).resolve().parent / "rope.json"
path.write_text(json.dumps(out, indent=1).replace("\n   ", "").replace("\n  }", "}") + "\n")
