"""NaCl's secretbox, XSalsa20-Poly1305, in which cosign keeps its private keys.

For a few hundred bytes at a time: the cipher is written out in Python. The authenticator is `cryptography`'s, which has
no Salsa20 (decision 0016). Bernstein, "Extending the Salsa20 nonce" and "Salsa20 specification".
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

KEY_SIZE = 32
NONCE_SIZE = 24
OVERHEAD = 16
"""Bytes that a box is longer than what is in it."""
_MASK = 0xFFFFFFFF
_CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")
_BLOCK = 64


def seal(message: bytes, nonce: bytes, key: bytes) -> bytes:
    """The box of `message`: its authenticator, then the encrypted bytes.

    :param nonce: 24 bytes that this key never had before. :param key: 32 bytes.
    """
    stream = _stream(KEY_SIZE + len(message), nonce, key)
    encrypted = _xor(message, stream[KEY_SIZE:])
    return Poly1305.generate_tag(stream[:KEY_SIZE], encrypted) + encrypted


def unseal(box: bytes, nonce: bytes, key: bytes) -> bytes | None:
    """What is in `box`, None when it was sealed with another key or changed since."""
    tag, encrypted = box[:OVERHEAD], box[OVERHEAD:]
    stream = _stream(KEY_SIZE + len(encrypted), nonce, key)
    try:
        Poly1305.verify_tag(stream[:KEY_SIZE], encrypted, tag)
    except InvalidSignature:
        return None
    return _xor(encrypted, stream[KEY_SIZE:])


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _stream(size: int, nonce: bytes, key: bytes) -> bytes:
    """The first `size` bytes of the key stream: Salsa20 under the key that HSalsa20 makes of the longer nonce."""
    first, rest = struct.unpack("<4I", nonce[:16]), struct.unpack("<2I", nonce[16:])
    mixed = _rounds(_state(struct.unpack("<8I", key), first))
    derived = (*(mixed[place] for place in (0, 5, 10, 15)), *mixed[6:10])
    blocks = []
    for number in range(-(-size // _BLOCK)):
        state = _state(derived, (*rest, number & _MASK, number >> 32))
        blocks.append(struct.pack("<16I", *((a + b) & _MASK for a, b in zip(state, _rounds(state), strict=True))))
    return b"".join(blocks)[:size]


def _state(key: tuple[int, ...], given: tuple[int, ...]) -> list[int]:
    one, two, three, four = _CONSTANTS
    return [one, *key[:4], two, *given, three, *key[4:], four]


def _rounds(state: list[int]) -> list[int]:
    """Twenty rounds: of the columns, and by turns of the rows, which are the columns of the transposed matrix."""
    now = list(state)
    for _ in range(20):
        for column in range(4):
            _quarter(now, [(5 * column + 4 * step) % 16 for step in range(4)])
        now = [now[4 * (place % 4) + place // 4] for place in range(16)]
    return now


def _quarter(now: list[int], places: list[int]) -> None:
    for step, by in enumerate((7, 9, 13, 18), 1):
        total = (now[places[step - 1]] + now[places[step - 2]]) & _MASK
        now[places[step % 4]] ^= ((total << by) | (total >> (32 - by))) & _MASK
