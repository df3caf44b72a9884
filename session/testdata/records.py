"""Writes the golden records of docs/FORMATS.md, "Sessions". It shares no code with the
program; Python 3.11, standard library only. A line is: type, version, 1 if skippable, payload."""
import struct

def head(fixed, size, longer=0):
    """A head of size bytes, from the fields behind its length: cut, or filled up with zeros."""
    return struct.pack("<H", size + longer) + fixed[: size - 2] + b"\xee" * longer

def tokens(*ids):
    return struct.pack("<%di" % len(ids), *ids)

def records(cut, longer):
    def rec(typ, fixed, size, rest=b""):
        assert len(fixed) == size - 2, (typ, len(fixed))
        return (typ, 1, 0, head(fixed, cut.get(typ, size), longer) + rest)

    create = struct.pack("<BBIqq", 2, 2, 7, 1_800_000_000_000_000_000, 3_600_000_000_000)
    create += bytes(range(16)) + b"k" * 16 + b"w" * 32 + b"t" * 32 + b"p" * 32 + struct.pack("<HHQ", 5, 5, 0)
    yield rec(1, create, 164, b"cpu-1alice")

    def open_(turn, parent, keep, ids, body, parts=0, tail=None):
        fixed = struct.pack("<BBIIIqQ", 0, 0, turn, parent, keep, 1_800_000_001_000_000_000, 42)
        fixed += b"K" * 16 + b"D" * 16 + struct.pack("<III", len(ids), len(body), parts)
        whole = tokens(*ids) + body
        return rec(2, fixed, 76, whole if tail is None else tail)

    def step(turn, first, ids, state=b""):
        return rec(3, struct.pack("<BBIIII", 0, 0, turn, first, len(ids), len(state)), 20, tokens(*ids) + state)

    def commit(turn, n, length, depth, finish, result):
        fixed = struct.pack("<BBIIIIqII", 0, len(finish), turn, n, length, depth, 1_800_000_002_000_000_000, len(result), 0)
        return rec(4, fixed, 36, finish + result)

    yield open_(1, 0, 0, [1, 2, 3], b"hello")
    yield step(1, 0, [4])
    yield step(1, 1, [5, 6], b"" if 3 in cut else b"grammar")
    yield (200, 9, 1, b"from the future")
    yield commit(1, 2, 5, 1, b"stop", b"answer")
    if 2 not in cut:  # the first minor had no parts
        whole = tokens(7, 8) + b"long body"
        yield rec(8, struct.pack("<BBI", 0, 0, 0), 8, whole[:5])
        yield rec(8, struct.pack("<BBI", 0, 0, 1), 8, whole[5:10])
        yield open_(2, 1, 4, [7, 8], b"long body", 2, whole[10:])
    else:
        yield open_(2, 1, 4, [7, 8], b"long body")
    yield step(2, 0, [9])
    yield rec(5, struct.pack("<BBIq", 0, 0, 2, 1_800_000_003_000_000_000), 16)
    yield open_(3, 1, 5, [-1], b"")
    yield rec(6, struct.pack("<BBIIIIIq", 0, 0, 1, 4, 5, 1, 0, 1_800_000_004_000_000_000), 32)
    yield open_(4, 1, 5, [10], b"")
    yield step(4, 0, [11])
    yield rec(7, struct.pack("<BBqq", 6, 0, 7_200_000_000_000, 1_800_000_005_000_000_000), 20)

for name, cut, longer in [("1.0", {}, 0), ("older", {2: 72, 3: 16, 4: 32}, 0), ("newer", {}, 8)]:
    with open("records-%s.txt" % name, "w") as f:
        for typ, version, skippable, payload in records(cut, longer):
            f.write("%d %d %d %s\n" % (typ, version, skippable, payload.hex()))
