"""Writes kv-1.N.hex: segments of KV blocks as docs/FORMATS.md describes them, byte by
byte, by other means than the program's. Run: python3 kv.py (in this folder).
Made with Python 3.11 and the PyPI package xxhash 4.1.0."""

import struct

import xxhash

PAGE, SIZE = 4096, 16 * 4096
SALT, ROOT = 0x1122334455667788, bytes(range(32))
FIRST, SECOND = bytes(range(0x40, 0x60)), bytes(range(0x80, 0xA0))


def digest(data):
    # The canonical form of XXH3-128: high half first, each big-endian.
    return data + xxhash.xxh3_128_digest(data)


def pad(data):
    return data.ljust(-(-len(data) // PAGE) * PAGE, b"\0")


def header(minor):
    h = struct.pack("<8sHHIQQQ", b"HFkvseg\n", 1, minor, 0, 1, SALT, SIZE).ljust(496, b"\0")
    if minor > 1:
        h = h[:200] + b"a field of a later version".ljust(296, b"\0")
    return digest(h)


def entry(kind, key, page, pages):
    return struct.pack("<32sIIB7x", key, page, pages, kind)


def block(minor, page, kind, key, parent, tokens, payload):
    h = struct.pack("<8sQIIIB3x32s32s32s16s", b"HFkvblk\n", SALT, page, len(payload), len(tokens), kind, key, parent, ROOT, xxhash.xxh3_128_digest(payload))
    later = b"later" if minor > 1 else b""
    return pad(digest(h + later.ljust(16, b"\0") + struct.pack(f"<{len(tokens)}i", *tokens))) + pad(payload)


def batch(minor, page, entries, blocks):
    pages = 1 + len(blocks) // PAGE
    d = struct.pack("<8sQIIII", b"HFkvdir\n", SALT, page, pages, len(entries), 7 if minor > 1 else 0)
    return pad(digest(d + b"".join(entries))) + blocks


for minor in range(3):
    one = entry(0, FIRST, 2, 2)
    two = entry(1, SECOND, 5, 2)
    data = bytearray(SIZE)
    b = batch(minor, 1, [one], block(minor, 2, 0, FIRST, ROOT, [1, 2, -1], b"hello"))
    b += batch(minor, 4, [two], block(minor, 5, 1, SECOND, FIRST, [70000], b"world" * 100))
    data[:512] = header(minor)
    data[PAGE : PAGE + len(b)] = b
    if minor > 0:  # 1.0 had no index
        x = one + two + struct.pack("<8sQIIII", b"HFkvidx\n", SALT, 7, 2, 0, 7 if minor > 1 else 0)
        x = digest(x)
        data[SIZE - len(x) :] = x
    with open(f"kv-1.{minor}.hex", "w") as f:
        for at in range(0, SIZE, 16):
            if any(data[at : at + 16]):
                f.write(f"{at:05x}: {data[at : at + 16].hex(' ')}\n")
