"""Writes golden.gz: strings and the IDs that the `tokenizers` wheel gives them.

One vocabulary (SmolLM2's) under the four pre-tokenizers, built as the
tokenizer.json of GPT-2, SmolLM2, Llama 3 and Qwen2 build theirs (Qwen2 without
its NFC normaliser, which GGUF files do not carry). Deterministic: the strings
come from one seed.

    gzip of, for each string: u32 lenBytes, UTF-8 bytes; for each of gpt-2,
    smollm, llama-bpe, qwen2, and smollm with special tokens recognised: u16
    lenTokens, u16 IDs; for each of the first four: u16 count and u16 lengths in
    bytes of the pre-tokens (little endian)

Usage: python golden.py smollm2-vocab.gguf.gz
"""

import gzip
import os
import random
import struct
import sys
import tempfile

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

COUNT = 10000
CL = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
      r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def load(path):
    with tempfile.NamedTemporaryFile(suffix=".gguf") as f:
        f.write(gzip.open(path).read())
        f.flush()
        fields = gguf.GGUFReader(f.name).fields
        return [fields["tokenizer.ggml." + k].contents() for k in ("tokens", "token_type", "merges")]


def split(digits):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CL % digits), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def build(vocab, pre, ignore_merges=False, specials=()):
    tokens, merges = vocab
    bpe = models.BPE(
        {t: i for i, t in enumerate(tokens)},
        [tuple(m.split(" ")) for m in merges],
        ignore_merges=ignore_merges,
    )
    t = Tokenizer(bpe)
    t.pre_tokenizer = pre
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in specials])
    return t


WORDS = """the of and to in is that it was for on are as with his they be at one have this from or had by hot but
some what there we can out other were all your when up use word how said an each she which do their time if will way
about many then them would write like so these her long make thing see him two has look more day could go come did
number sound no most people my over know water than call first who may down side been now find don't I'm we've
they're you'll he'd can't it's O'Brien rock'n'roll 'tis y'all'd've WE'LL HE'S I'D ISN'T antidisestablishmentarianism
naïve café résumé Zürich coöperate fiancée Ångström smörgåsbord piñata jalapeño façade""".split()
FOREIGN = """Привет мир как дела сегодня хорошая погода Съешь же ещё этих мягких французских булок|
Ελληνικά γλώσσα είναι όμορφη και αρχαία Ξεσκεπάζω την ψυχοφθόρα βδελυγμία|
你好世界 今天天气很好 我们去公园散步吧 中文分词是一个难题 人工智能|
日本語のテキスト 吾輩は猫である 名前はまだ無い カタカナ ひらがな 東京特許許可局|
안녕하세요 세계 오늘 날씨가 좋습니다 한국어 문장 키스의 고유조건은|
مرحبا بالعالم كيف حالك اليوم صِف خَلقَ خَودِ كَمِثلِ الشَمسِ إِذ بَزَغَت|
שלום עולם מה שלומך היום דג סקרן שט בים מאוכזב|
नमस्ते दुनिया आज मौसम अच्छा है ऋषियों को सताने वाले दुष्ट|
สวัสดีชาวโลก วันนี้อากาศดี เป็นมนุษย์สุดประเสริฐเลิศคุณค่า|
Xin chào thế giới hôm nay trời đẹp Tiếng Việt có dấu|
Hej världen hur mår du idag Flygande bäckasiner söka hwila på mjuka tuvor|
Příliš žluťoučký kůň úpěl ďábelské ódy Zażółć gęślą jaźń|
Merhaba dünya İstanbul ıspanak Pijamalı hasta yağız şoföre çabucak güvendi|
გამარჯობა მსოფლიო Բարեւ աշխարհ ሰላም ልዑል ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ ꦗꦮ தமிழ் తెలుగు ಕನ್ನಡ മലയാളം සිංහල|
Unicode ſharp 'ſ 'S 'T 'RE 'Ve 'M 'lL 'D ﬁ ﬂ ĳ ŉ ß ẞ Å K Ω""".split("|")
EMOJI = ("😀 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 🧑🏿‍🚀 ❤️ ☺︎ 1️⃣ #️⃣ 🫠 🪿 👨‍💻 ✈️ ™ © 🀄 🃏 ⚡️ ♾️ 🤦🏼‍♂️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿").split(" ")
CODE = """def f(x, y=1):\n    return x**2 + y  # comment\n|for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n|
#include <stdio.h>\r\nint main(void) { printf("%d\\n", 42); }\r\n|SELECT * FROM t WHERE id>=10 AND name LIKE '%x%';|
if err != nil {\n\t\treturn fmt.Errorf("open %q: %w", name, err)\n\t}\n|<div class="a b">\n  <p>Hi&nbsp;there</p>\n</div>|
{"key": [1, 2.5e-10, null, true], "s": "\\u00e9"}|lambda *a, **k: (a, k)|x = 0xDEADBEEF; y = 1_000_000; z = 3.14159|
const f = async () => { await g?.(); };|#!/bin/sh\nset -eu\necho "$HOME" | sed 's/a/b/g'|@@ -1,7 +1,6 @@|\\frac{a}{b} \\\\ &= \\sum_{i=1}^{n}|
let v: Vec<&'static str> = vec![];|a-b_c.d/e\\f:g;h|...!!!???---===+++|((()))[[]]{{}}|std::vector<std::pair<int,int>>""".split("|")
SPACES = [" ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", " \n", "\n ", " \n \n ", "\t\n", "\v", "\f",
          "\u00a0", "\u2003", "\u3000", "\u1680", "\u0085", "\u2028", "\u2029", "\u200b", "\u202f ", " \u00a0 ", "        ", "\ufeff"]
MARKS = [chr(c) for c in range(0x300, 0x370)] + list("\u05b0\u064b\u0651\u093c\u094d\u0e31\u20d7\ufe0f\u200d\u1ab0")
NUMS = ["0", "1", "42", "123", "1234", "12345", "1234567890", "3.14", "1,000,000", "-7", "٣٤٥", "१२३", "Ⅷ", "½", "²", "①", "৪", "百", "1e9", "007",
        "𝟘𝟙", "\u0bf0", "\U00011de3", "\U00016ff4", "\U00010d40", "0x1F", "12:34:56", "2024-01-31"]
SPECIAL_NEAR = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "end|>", "<repo_name>", "<filename>", "<|", "|>", "<file_sep", "<|im_end|"]


def one(r):
    kind = r.randrange(12)
    if kind == 0:
        return " ".join(r.choices(WORDS, k=r.randint(1, 14)))
    if kind == 1:
        lang = r.choice(FOREIGN).strip("\n")
        at = r.randrange(len(lang))
        return lang[at:at + r.randint(1, 40)]
    if kind == 2:
        return "".join(r.choice([r.choice(EMOJI), r.choice(WORDS), " "]) for _ in range(r.randint(1, 10)))
    if kind == 3:
        return "".join(r.choices(CODE, k=r.randint(1, 2)))
    if kind == 4:
        return "".join(r.choice([r.choice(SPACES), r.choice(SPACES), r.choice(WORDS), r.choice("!,.'\"-"), r.choice(NUMS)])
                       for _ in range(r.randint(1, 14)))
    if kind == 5:
        return r.choice(["", " ", "a"]).join(r.choice(NUMS) for _ in range(r.randint(1, 8)))
    if kind == 6:
        word = r.choice(["", " ", "(", "\n", "'"]) + r.choice(WORDS)
        return "".join(word + "'" + r.choice("s t re ve m ll d S T RE VE M LL D ſ Ll x K".split()) + r.choice(["", " ", "x", "'", "1"])
                       for _ in range(r.randint(1, 5)))
    if kind == 7:
        return "".join(r.choice([r.choice(WORDS)[:3], r.choice(MARKS), r.choice("aeiouAEIOU नเส"), r.choice(MARKS)]) for _ in range(r.randint(1, 10)))
    if kind == 8:
        top = r.choice([0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000])
        points = [r.randrange(top) for _ in range(r.randint(1, 12))]
        return "".join(chr(c) for c in points if not 0xD800 <= c < 0xE000)
    if kind == 9:
        return bytes(r.randrange(256) for _ in range(r.randint(1, 24))).decode("latin-1")
    if kind == 10:
        return "".join(r.choice([r.choice(SPECIAL_NEAR), r.choice(WORDS), "\n", " ", r.choice("<|>_")]) for _ in range(r.randint(1, 8)))
    return r.choice(list("aA1 \n\t-=_.") + ["ab", "é", "中", "\r\n", " \n", "👍"]) * r.randint(1, 120)


def main(path):
    tokens, types, merges = load(path)
    vocab = (tokens, merges)
    specials = [t for t, y in zip(tokens, types) if y == 3]
    smol = lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
    encoders = [
        build(vocab, byte_level()),
        build(vocab, smol()),
        build(vocab, split("{1,3}"), ignore_merges=True),
        build(vocab, split("")),
        build(vocab, smol(), specials=specials),
    ]
    r = random.Random(20261123)
    out = bytearray()
    seen = 0
    while seen < COUNT:
        s = one(r)
        if seen == 0:
            s = ""
        data = s.encode()
        out += struct.pack("<I", len(data)) + data
        for e in encoders:
            ids = e.encode(s, add_special_tokens=False).ids
            out += struct.pack(f"<H{len(ids)}H", len(ids), *ids)
        for e in encoders[:4]:
            # Each character of a byte-level piece stands for one byte.
            lens = [len(piece) for piece, _ in e.pre_tokenizer.pre_tokenize_str(s)]
            assert sum(lens) == len(data)
            out += struct.pack(f"<H{len(lens)}H", len(lens), *lens)
        seen += 1
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "golden.gz"), "wb") as f:
        with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
            z.write(bytes(out))
    print(seen, "strings,", len(out), "bytes before compression")


if __name__ == "__main__":
    main(sys.argv[1])
