"""Prints the hashes that identity_test.go pins. Needs the PyPI package blake3 (1.0.11 was used)."""

import struct

from blake3 import blake3


def number(n):
    return struct.pack("<Q", n)


def data(b):
    return number(len(b)) + b


root = data(b"holdfast KV identity 1")
root += data(bytes([1] * 32)) + data(bytes([2] * 32)) + data(b"ad") + data(b"F16")
root += number(2) + number(2) + struct.pack("<dd", 1.0, 0.5) + number(1) + struct.pack("<d", 0.25)
root += number(32) + number(1) + number(2) + data(b"cpu-1") + data(b"salt")
root = blake3(root).digest()
block = blake3(data(b"holdfast KV block 1") + data(root) + number(3) + number(7) + number(0) + number(49151) + data(b"x")).digest()
print(root.hex())
print(block.hex())
