#!/usr/bin/env python3
"""Writes some of the tiny models as transformers saves them, into model/testdata/folders/NAME: config.json,
generation_config.json and safetensors of the values that tiny/NAME.gguf holds, and tiny-chat's tokenizer.

    folders.py [--out DIR] [CASE ...]

Their goldens are tiny/NAME.golden: the reference's logits do not depend on the file. Versions: SOURCES.md.
"""

import argparse
import pathlib
import shutil

import gguf
import torch

import families
import tiny

HERE = pathlib.Path(__file__).resolve().parent
# By name: the largest shard, where the model is saved in several.
CASES = {"bias-untied": "48KB", "window": None, "tiny-chat": None, "qwen2-yarn": None, "qwen3": None, "gemma2": None,
         "gemma3": "100KB", "phi3": None, "granite": None}


def family(case, path):
    """The model of one of families.py's cases, on the values of the file at path."""
    model = case.model(case.config).to(torch.float32).eval()
    held = {t.name: t.data for t in gguf.GGUFReader(str(path)).tensors}
    for name, p in model.named_parameters():
        p.data = torch.from_numpy(families.taken(case, name, held[families.gguf_name(case, name)].reshape(p.shape)))
    return model


def save_tokenizer(case, out):
    from transformers import PreTrainedTokenizerFast

    t, _, _ = tiny.vocabulary(case.vocab)
    PreTrainedTokenizerFast(tokenizer_object=t, bos_token=tiny.CONTROL[1], eos_token=tiny.CONTROL[2], unk_token=tiny.CONTROL[0],
                            pad_token=tiny.CONTROL[2], chat_template=tiny.TEMPLATE).save_pretrained(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=pathlib.Path, default=HERE / "folders")
    p.add_argument("cases", nargs="*")
    a = p.parse_args()
    cases = {c.name: (c, tiny.reference) for c in tiny.CASES} | {c.name: (c, family) for c in families.CASES}
    for name, shard in CASES.items():
        if a.cases and name not in a.cases:
            continue
        case, build = cases[name]
        out = a.out / name
        shutil.rmtree(out, ignore_errors=True)
        model = build(case, HERE / "tiny" / f"{name}.gguf")
        if case.chat:
            model.generation_config.eos_token_id = [2]
        model.save_pretrained(out, max_shard_size=shard or "5GB")
        if case.chat:
            save_tokenizer(case, out)
        print(name, *(f"{f.name} {f.stat().st_size}" for f in sorted(out.iterdir())))


if __name__ == "__main__":
    main()
