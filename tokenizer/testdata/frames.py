"""The tokenizer.json files of parity.py, without their models.

Each is what the named family's file says, with "model" naming one of the small
models that parity.py makes: "bpe" and "unigram" are SentencePiece's converted
as transformers converts them, "smollm2" is SmolLM2's vocabulary.
"""

SMOL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
UP, LOW = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ANY = r"[^\r\n\p{L}\p{N}]?"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = f"{ANY}{UP}*{LOW}+{SHORT}|{ANY}{UP}+{LOW}*{SHORT}" + r"|\p{N}{1,3}" + REST
TEKKEN = f"{ANY}{UP}*{LOW}+|{ANY}{UP}+{LOW}*" + r"|\p{N}" + REST


def added(content, number, special=True, **flags):
    return {"id": number, "content": content, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": special} | flags


def byte_level(use_regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def template(bos):
    return {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {bos: {"id": bos, "ids": [1], "tokens": [bos]}}}


def frame(model, tokens, normalizer, pre, post, decoder):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model}


def bytes_frame(pre, normalizer=None, model="smollm2", extra=()):
    tokens = [added(t, i) for i, t in enumerate(SMOL)] + list(extra)
    return frame(model, tokens, normalizer, pre, byte_level(False), byte_level(True))


def replace(old, new):
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def metaspace(scheme, cut):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}


UNMARK = [replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
BASE = [added("<unk>", 0), added("<s>", 1), added("</s>", 2)]
LEGACY = sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, replace(" ", "▁"))
USER = [added("<table>", 3, False), added("\n\n", 4, False), added("▁▁▁", 5, False)]
N = 2400  # the first ID behind the small models'
FLAGS = [added("<|left|>", N, lstrip=True), added("<|right|>", N + 1, rstrip=True),
         added("<|both|>", N + 2, lstrip=True, rstrip=True), added("qz", N + 3, False, single_word=True),
         added("naïv", N + 4, False, normalized=True), added("in it", N + 5, False, normalized=True)]
SEQ = "pretokenizers"

FRAMES = {
    "llama3": bytes_frame(sequence(SEQ, split(LLAMA3), byte_level(False)), model="smollm2-whole") | {
        "post_processor": sequence("processors", byte_level(True), template("<|im_start|>"))},
    "qwen2": bytes_frame(sequence(SEQ, split(QWEN2), byte_level(False)), {"type": "NFC"},
                         extra=[added("<tool_call>", 49152, False)]),
    "smollm2": bytes_frame(sequence(SEQ, {"type": "Digits", "individual_digits": True}, byte_level(True))),
    "o200k": bytes_frame(sequence(SEQ, split(O200K, "Removed", True), byte_level(False))),
    "tekken": bytes_frame(sequence(SEQ, split(TEKKEN), byte_level(False))),
    "digits": bytes_frame(sequence(SEQ, {"type": "Digits", "individual_digits": False}, split(GPT2), byte_level(False)),
                          {"type": "Strip", "strip_left": True, "strip_right": True}),
    "gemma": frame("bpe", BASE + USER, replace(" ", "▁"),
                   {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
                   template("<s>"), sequence("decoders", *UNMARK)),
    "llama2": frame("bpe", BASE, LEGACY, None, template("<s>"), sequence("decoders", *UNMARK, STRIP)),
    "mistral": frame("bpe", BASE, None, metaspace("first", False), template("<s>"), sequence("decoders", *UNMARK, STRIP)),
    "metaspace": frame("bpe-unk", BASE, None, metaspace("always", True), None, metaspace("always", True)),
    "phi3": frame("bpe", BASE + FLAGS, LEGACY, None, None, sequence("decoders", *UNMARK, STRIP)),
    "unigram": frame("unigram", BASE, sequence("normalizers", {"type": "Strip", "strip_left": False, "strip_right": True},
                                               {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}),
                     metaspace("always", True), None, sequence("decoders", {"type": "ByteFallback"}, metaspace("always", True))),
}
