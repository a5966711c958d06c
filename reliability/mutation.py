"""Mutations of bytes, for readers that must bear anything."""

import random

# What means something to a pickle, to JSON or to a file's header is tried more often than the rest.
_TELLING = bytes([0, 1, 0x7F, 0x80, 0xFF, *b"(.RbQct0q", *b'{}[]",:-9e'])


def mutate(content: bytes, rng: random.Random) -> bytes:
    """One to four of: flip a bit, set a byte, delete, repeat or move a stretch, cut the end."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data)) if data else 0
        length = rng.choice([1, 2, 4, 8, 64])
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at : at + 1] = bytes([rng.choice(_TELLING)])
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            other = rng.randrange(len(data) + 1)
            data[at:at] = data[other : other + length]
        else:
            del data[max(at, len(data) // 2) :]
    return bytes(data)
