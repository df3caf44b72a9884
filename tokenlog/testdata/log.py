"""Writes log-1.N.hex: token logs as docs/FORMATS.md describes them, byte by byte,
by other means than the program's. Run: python3 log.py (in this folder).
Made with Python 3.11.7 and the PyPI package xxhash 4.1.0."""

import struct

import xxhash

PAGE = 4096
STORE, OWNER = bytes(range(16)), bytes(range(0xA0, 0xB0))
SALT, FIRST, SIZE = 0x1122334455667788, PAGE, 5 * PAGE


def digest(data):
    # The canonical form of XXH3-128: high half first, each big-endian.
    return xxhash.xxh3_128_digest(data)


def header(minor):
    h = struct.pack("<8sHHI16sQQQQQ", b"HFtoklog", 1, minor, 0, STORE, 1, SALT, FIRST, SIZE, FIRST)
    h = bytearray(h.ljust(496, b"\0"))
    if minor > 1:
        text = b"a field of a later version"
        h[200 : 200 + len(text)] = text
    return bytes(h) + digest(bytes(h))


def record(lsn, seq, link, prev, group, kind, version, flags, payload):
    rest = struct.pack("<Q16sQQIIIBBBB", xxhash.xxh3_64_intdigest(payload), OWNER, link, prev, seq, len(payload), group, kind, version, flags, 0)
    check = xxhash.xxh3_64_intdigest(rest, seed=lsn)
    return check, struct.pack("<Q", check) + rest + payload.ljust(-(-len(payload) // 8) * 8, b"\0")


def batch(lsn, records, closing):
    body, directory, link, prev = b"", b"", 0, 0
    for seq, (kind, version, flags, payload) in enumerate(records, 1):
        at = 48 + len(body)
        directory += struct.pack("<16sII", OWNER, seq, at)
        link, data = record(lsn + at, seq, link, prev, 1 if seq == 1 else 0, kind, version, flags, payload)
        prev, body = lsn + at, body + data
    length = 48 + len(body)
    total = -(-(length + len(directory) + 48) // PAGE) * PAGE
    head = struct.pack("<8sQQQIIII", b"HFbatch\n", lsn, SALT, FIRST, total, length, len(records), closing)
    foot = struct.pack("<QQII", lsn, SALT, total, len(records))
    check = xxhash.xxh3_64_intdigest(directory, seed=xxhash.xxh3_64_intdigest(foot))
    b = (head + body).ljust(total - 48 - len(directory), b"\0") + directory + struct.pack("<Q", check) + foot
    return b + digest(b)


for minor in range(3):
    data = bytearray(SIZE)
    data[:512] = header(minor)
    if minor > 0:  # 1.0 had no copy
        data[SIZE - PAGE : SIZE - PAGE + 512] = header(minor)
    data[PAGE : 2 * PAGE] = batch(FIRST, [(1, 1, 0, b"hello"), (200, 9, 1, b"from the future")], 0)
    data[2 * PAGE : 3 * PAGE] = batch(FIRST + PAGE, [], 1)
    with open(f"log-1.{minor}.hex", "w") as f:
        for at in range(0, SIZE, 16):
            if any(data[at : at + 16]):
                f.write(f"{at:05x}: {data[at : at + 16].hex(' ')}\n")
