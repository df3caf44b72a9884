"""Writes smollm2-vocab.gguf.gz: SmolLM2's GGUF metadata without its tensors.

Usage: python vocab.py SmolLM2-135M-Instruct.Q4_1.gguf
"""

import gzip
import os
import sys
import tempfile

import gguf

KEYS = {
    "general.architecture", "general.name", "general.license",
    "tokenizer.chat_template",
}


def main(path):
    reader = gguf.GGUFReader(path)
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "vocab.gguf")
        arch = reader.fields["general.architecture"].contents()
        writer = gguf.GGUFWriter(out, arch)
        for name, field in reader.fields.items():
            if name == "general.architecture" or not (name in KEYS or name.startswith("tokenizer.")):
                continue
            sub = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        with open(out, "rb") as f:
            data = f.read()
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "smollm2-vocab.gguf.gz"), "wb") as f:
        with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
            z.write(data)
    print(len(data), "bytes before compression")


main(sys.argv[1])
