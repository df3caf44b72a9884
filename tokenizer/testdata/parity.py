"""Writes the references that the other tokenizers are held against.

    extra.gz           2,000 strings besides those of golden.gz, a line of JSON each
    bpe.model.gz       a SentencePiece BPE model, trained on the strings of golden.py
    unigram.model.gz   a SentencePiece unigram model
    frames.json.gz     {"frames": tokenizer.json files by name, "models": their small models}
    parity.bin         for each kind of kinds(): for each string (golden.gz, then
                       extra.gz) the low byte of the CRC-32 of the reference's IDs (int32
                       each, little endian) and of the text that they decode to; then the
                       CRC-32 of all that, u32
    gemma.bin          the same for sentencepiece with the vocabulary of Gemma's GGUF file

Everything is seeded. Usage, beside golden.gz and smollm2-vocab.gguf.gz:
python parity.py              writes the files
python parity.py gemma MODEL  writes gemma.bin
python parity.py KIND NUMBER  shows what the reference makes of one string
"""

import base64
import gzip
import json
import os
import random
import struct
import sys
import tempfile
import zlib

import gguf
import sentencepiece as spm
import tiktoken
import tokenizers
from sentencepiece import sentencepiece_model_pb2 as pb
from tiktoken_ext import openai_public

import frames
import golden

HERE = os.path.dirname(os.path.abspath(__file__))
USER = ["<table>", "\n\n", "▁▁▁", "naïve", "ab", "aba"]
MARKS = ["▁", "▁▁", " ▁", "<0x41>", "<0x0A>", "<s>", "</s>", "<unk>", "<table>", "\n\n", "<tool_call>", "ab", "aba", "qz", "qz qz", "xqz", "qz_", "qz!", "naïve", "naïv", "in it",
         "<|left|>", "<|right|>", "<|both|>", "<|im_start|>", "<|im_end|>", "nai\u0308ve", "⁇"]
CASED = ["HTTPServer", "iPhone's", "McDONALD'S", "ǅungla", "ǅ", "ʰa", "Aʰ", "ªº", "camelCaseWord", "XMLHttpRequest", "ÀÉÎ", "àéî", "Ωmega",
         "中A文", "A中", "'S", "'ſ", "א", "ßẞ", "x/", "//\n", "/*", "1/2/3"]


def jamo(r):
    return "".join(chr(r.choice([0x1100 + r.randrange(19), 0x1161 + r.randrange(21), 0x11A8 + r.randrange(27),
                                 0xAC00 + 28 * r.randrange(399), 0xAC01 + r.randrange(9000)])) for _ in range(r.randint(1, 8)))


def marks(r):
    base = "aeiouAEIOUcnsyzΑωאקоиक়ড়゙かは"
    return "".join(r.choice(base) + "".join(r.choice(golden.MARKS + list("\u0327\u0323\u0345\u0300\u0308\u3099\u0334\u1d16d"))
                                            for _ in range(r.randint(0, 4))) for _ in range(r.randint(1, 8)))


def extra(r):
    kind = r.randrange(8)
    if kind == 0:
        return "".join(r.choice([r.choice(MARKS), r.choice(golden.WORDS), " ", "  ", "\n", r.choice("<▁>aб中")]) for _ in range(r.randint(1, 8)))
    if kind == 1:
        return bytes(r.choice([r.randrange(256), 0xE2, 0x96, 0x81, 0xF0, 0x9F, 0x20]) for _ in range(r.randint(1, 30))).decode("utf-8", "replace")
    if kind == 2:
        return "".join(chr(r.choice([r.randrange(32), 127, r.randrange(128, 160), 32, 97])) for _ in range(r.randint(1, 20)))
    if kind == 3:
        return marks(r)
    if kind == 4:
        return jamo(r) + r.choice(["", " ", "\u0301", "x"]) + jamo(r)
    if kind == 5:
        return "".join(r.choice([r.choice(CASED), r.choice(golden.WORDS), r.choice(golden.MARKS), " ", r.choice("'/\n.Aa1")]) for _ in range(r.randint(1, 9)))
    if kind == 6:
        return r.choice([" ", "a", "▁", "ab", "的", "\n", "\t", "👍", "=", "A", "é", "e\u0301", " a", "1"]) * r.randint(60, 400)
    return r.choice(["", " ", "  ", "   "]) + golden.one(r) + r.choice(["", " ", "  ", " \n", "\n "])


def strings():
    data = gzip.open(os.path.join(HERE, "golden.gz")).read()
    out, at = [], 0
    while at < len(data):
        n, = struct.unpack_from("<I", data, at)
        out.append(data[at + 4:at + 4 + n].decode())
        at += 4 + n
        for size in [2] * 9:
            n, = struct.unpack_from("<H", data, at)
            at += 2 + size * n
    r = random.Random(7)
    return out, [extra(r) for _ in range(2000)]


def train(kind, **options):
    r = random.Random(11)
    lines = [golden.one(r) for _ in range(12000)]
    corpus = [part for line in lines for part in line.split("\n") if part.strip() and "\0" not in part]
    with tempfile.TemporaryDirectory() as tmp:
        name = os.path.join(tmp, "model")
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus), model_prefix=name, model_type=kind, vocab_size=2400, num_threads=1,
            character_coverage=0.98, byte_fallback=True, normalization_rule_name="identity",
            user_defined_symbols=USER, minloglevel=2, **options)
        m = pb.ModelProto.FromString(open(name + ".model", "rb").read())
        m.trainer_spec.ClearField("model_prefix")
        return m.SerializeToString()


def changed(model, **flags):
    m = pb.ModelProto.FromString(model)
    for name, value in flags.items():
        setattr(m.trainer_spec if name == "byte_fallback" else m.normalizer_spec, name, value)
    for p in m.pieces:
        if p.type == p.BYTE and not m.trainer_spec.byte_fallback:
            p.type = p.CONTROL
    return m.SerializeToString()


def convert(model):
    """The models of a tokenizer.json, as transformers makes them of SentencePiece's."""
    pieces = pb.ModelProto.FromString(model).pieces
    vocab = {p.piece: i for i, p in enumerate(pieces)}
    merges = []
    for p in pieces:
        local = [(vocab[p.piece[:i]], vocab[p.piece[i:]], p.piece[:i], p.piece[i:]) for i in range(1, len(p.piece))
                 if p.piece[:i] in vocab and p.piece[i:] in vocab]
        merges += [(-p.score, vocab[p.piece], a, b) for _, _, a, b in sorted(local)]
    merges = [[a, b] for _, _, a, b in sorted(merges, key=lambda m: m[:2])]
    return vocab, merges, [[p.piece, round(p.score, 6)] for p in pieces]


def models(bpe, unigram):
    vocab, merges, _ = convert(bpe)
    base = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None}
    return {
        "bpe": base | {"fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": merges},
        "unigram": {"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": convert(unigram)[2]},
    }


def complete(frame, small, smol):
    """A frame with its model, as the Go test completes it."""
    name = frame["model"]
    if name.startswith("smollm2"):
        tokens, _, merges = smol
        model = {"type": "BPE", "fuse_unk": False, "byte_fallback": False, "ignore_merges": name == "smollm2-whole",
                 "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges}
    elif name == "bpe-unk":
        model = small["bpe"] | {"byte_fallback": False}
    else:
        model = small[name]
    return frame | {"model": model}


def sentence(model):
    p = spm.SentencePieceProcessor(model_proto=model)
    return lambda s: p.encode(s), lambda ids: p.decode(ids)


def hugging(frame, plain):
    t = tokenizers.Tokenizer.from_str(json.dumps(frame))
    t.encode_special_tokens = plain
    return lambda s: t.encode(s, add_special_tokens=False).ids, lambda ids: t.decode(ids)


def ranked(name, smol):
    back = {chr(c): b for b, c in byte_runes().items()}
    pieces = [bytes(back[c] for c in t) for t, kind in zip(smol[0], smol[1]) if kind == 1]
    pieces += [bytes([b]) for b in range(256) if bytes([b]) not in set(pieces)]
    pattern = {}
    openai_public.load_tiktoken_bpe = lambda *a, **k: {}
    pattern = getattr(openai_public, name)()["pat_str"]
    e = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks={p: i for i, p in enumerate(pieces)}, special_tokens={})
    return lambda s: e.encode(s, disallowed_special=()), e.decode


def byte_runes():
    keep = [*range(33, 127), *range(0xA1, 0xAD), *range(0xAE, 256)]
    rest = [b for b in range(256) if b not in keep]
    return {b: b for b in keep} | {b: 256 + i for i, b in enumerate(rest)}


def kinds(bpe, unigram, small):
    smol = golden.load(os.path.join(HERE, "smollm2-vocab.gguf.gz"))
    frame = lambda name, plain: lambda: hugging(complete(frames.FRAMES[name], small, smol), plain)
    return {
        "bpe": lambda: sentence(bpe),
        "bpe/bare": lambda: sentence(changed(bpe, add_dummy_prefix=False, byte_fallback=False)),
        "unigram": lambda: sentence(unigram),
        "unigram/bare": lambda: sentence(changed(unigram, add_dummy_prefix=False, remove_extra_whitespaces=False, byte_fallback=False)),
        "json/llama3": frame("llama3", True), "json/qwen2": frame("qwen2", False), "json/smollm2": frame("smollm2", False),
        "json/o200k": frame("o200k", True), "json/tekken": frame("tekken", True), "json/digits": frame("digits", True),
        "json/gemma": frame("gemma", True), "json/llama2": frame("llama2", True), "json/mistral": frame("mistral", False),
        "json/metaspace": frame("metaspace", True), "json/phi3": frame("phi3", False), "json/unigram": frame("unigram", False),
        "tiktoken/cl100k_base": lambda: ranked("cl100k_base", smol), "tiktoken/o200k_base": lambda: ranked("o200k_base", smol),
    }


def write(name, data):
    with open(os.path.join(HERE, name), "wb") as f:
        if name.endswith(".gz"):
            with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
                z.write(data)
        else:
            f.write(data)


def gemma(path):
    """A SentencePiece model of the metadata of Gemma's GGUF file."""
    fields = gguf.GGUFReader(path).fields
    tokens, types, scores = (fields["tokenizer.ggml." + k].contents() for k in ("tokens", "token_type", "scores"))
    m = pb.ModelProto()
    for token, kind, score in zip(tokens, types, scores):
        if token == "<unk>":
            kind = pb.ModelProto.SentencePiece.UNKNOWN
        m.pieces.add(piece=token.replace(" ", "▁") if kind == 4 else token, type=kind, score=score)
    m.trainer_spec.model_type = pb.TrainerSpec.BPE
    m.trainer_spec.byte_fallback = True
    m.trainer_spec.unk_id, m.trainer_spec.bos_id, m.trainer_spec.eos_id, m.trainer_spec.pad_id = 3, 2, 1, 0
    m.trainer_spec.unk_piece, m.trainer_spec.bos_piece, m.trainer_spec.eos_piece = "<unk>", "<bos>", "<eos>"
    m.normalizer_spec.add_dummy_prefix = m.normalizer_spec.remove_extra_whitespaces = False
    return m.SerializeToString()


def sums(encode, decode, texts):
    out, whole = bytearray(), 0
    for s in texts:
        ids = encode(s)
        data = struct.pack(f"<{len(ids)}i", *ids) + decode(ids).encode()
        out.append(zlib.crc32(data) & 0xFF)
        whole = zlib.crc32(data, whole)
    return bytes(out) + struct.pack("<I", whole)


def main(args):
    first, more = strings()
    texts = first + more
    if args[:1] == ["gemma"]:
        write("gemma.bin", sums(*sentence(gemma(args[1])), texts))
        return
    bpe, unigram = train("bpe", remove_extra_whitespaces=False), train("unigram")
    small = models(bpe, unigram)
    all_kinds = kinds(bpe, unigram, small)
    if args:
        encode, decode = all_kinds[args[0]]()
        ids = encode(texts[int(args[1])])
        print(repr(texts[int(args[1])]), ids, repr(decode(ids)), sep="\n")
        return
    write("extra.gz", "".join(json.dumps(s) + "\n" for s in more).encode())
    write("bpe.model.gz", bpe)
    write("unigram.model.gz", unigram)
    write("frames.json.gz", json.dumps({"frames": frames.FRAMES, "models": small}, ensure_ascii=False).encode())
    write("parity.bin", b"".join(sums(*make(), texts) for make in all_kinds.values()))


if __name__ == "__main__":
    main(sys.argv[1:])
