"""The rows of the table of peers: which model, under which conditions, and what ratio is asked of Holdfast."""

import dataclasses
import pathlib
import sys

from common import ROOT, run

MODELS = ROOT / "build/models"
SMOLLM2 = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA3 = ROOT / "models/gemma-3-270m-q4_k_m.gguf"


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    title: str
    model: pathlib.Path
    floor: dict  # of the ratios, by figure
    goal: dict
    make: tuple = ()  # the command that writes the model, if it has to be made
    prefill: int = 512
    ours: int = 0  # tokens of our prefill, where they cannot be as many
    decode: int = 128
    depth: int = 0  # tokens of context before both
    batch: int = 0  # sequences of a decoded batch, measured as well
    tier: str = ""  # forced on us
    peer: str = ""  # folder of the peer's CPU library, if not the native one
    rounds: int = 5

    @property
    def figures(self):
        return ("prefill", "decode", "batch") if self.batch else ("prefill", "decode")


def shape(kind):
    """The model of random weights."""
    path = MODELS / f"llama-1b-{kind}.gguf"
    return {"model": path, "make": (sys.executable, ROOT / "bench/peers/shape.py", kind, path)}


def requantised(kind):
    """SmolLM2 in another type, by the peer's own tool."""
    path = MODELS / f"smollm2-{kind}.gguf"
    return {"model": path, "make": (ROOT / "build/peer/bin/llama-quantize", "--allow-requantize", SMOLLM2, path, kind.upper())}


def ratios(prefill, decode, batch=None):
    r = {"prefill": prefill, "decode": decode}
    return r | {"batch": batch} if batch else r


AVX2 = {"tier": "avx2", "peer": "avx2"}
ROWS = [
    Row("llama-1b-q4_0", "Llama 3.2 1B's shape, Q4_0", **shape("q4_0"), floor=ratios(1.7, 1.2), goal=ratios(2.5, 1.5)),
    Row("llama-1b-q4_k_m", "Llama 3.2 1B's shape, Q4_K_M", **shape("q4_k_m"), floor=ratios(1.7, 1.2), goal=ratios(2.5, 1.5)),
    Row("smollm2-q4_0", "SmolLM2 Q4_0", **requantised("q4_0"), batch=32, floor=ratios(1.7, 1.3, 2), goal=ratios(2.2, 1.6, 2.8)),
    Row("smollm2-q8_0", "SmolLM2 Q8_0", **requantised("q8_0"), floor=ratios(2, 1.15), goal=ratios(2.6, 1.4)),
    Row("smollm2-q4_k_m", 'SmolLM2 "Q4_K_M" (half Q5_0)', **requantised("q4_k_m"), floor=ratios(2, 1.4), goal=ratios(2.6, 1.7)),
    Row("smollm2-q4_1", "SmolLM2 Q4_1 (the peer has no fast path)", SMOLLM2, batch=32, floor=ratios(5, 2, 5), goal=ratios(5.8, 2.4, 6.5)),
    Row("gemma3-270m-q4_k_m", "Gemma 3 270M Q4_K_M (mostly Q8_0)", GEMMA3, floor=ratios(1.8, 1.1), goal=ratios(2.5, 1.4)),
    Row("avx2-smollm2-q4_0", "SmolLM2 Q4_0, AVX2 on both sides", **requantised("q4_0"), **AVX2, floor=ratios(1.2, 1.1), goal=ratios(1.5, 1.3)),
    Row("avx2-smollm2-q4_1", "SmolLM2 Q4_1, AVX2 on both sides", SMOLLM2, **AVX2, floor=ratios(2, 1.3), goal=ratios(3, 1.6)),
    # Our context of 8,192 has to hold the first token after the prompt too.
    Row("smollm2-q4_0-deep", "SmolLM2 Q4_0 behind 7,680 tokens", **requantised("q4_0"), depth=7680, ours=511, rounds=3,
        floor=ratios(2, 2.5), goal=ratios(3, 3.5)),
]


def prepare(row):
    """Writes the row's model if it is not there."""
    if row.model.exists() or not row.make:
        return
    row.model.parent.mkdir(parents=True, exist_ok=True)
    part = row.model.with_suffix(".making")
    run([part if word == row.model else word for word in row.make])
    part.rename(row.model)
