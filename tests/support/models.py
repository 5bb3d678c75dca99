"""Models and tables of the size that the product cuts into chunks, made quickly: no mebibyte is like another."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

MIB = 1 << 20
_HIGH = bytes(b"\x3c\xbc\x3b\xbb"[n % 4] for n in range(256))
"""The upper bytes of numbers near one another, as those of weights are."""
_RARE = bytes(n % 3 + 1 if n < 40 else 0 for n in range(256))
LEAST_PACK = 4 * MIB


def tensor(seed: str) -> bytes:
    """A mebibyte of bf16 numbers."""
    random, data = Random(seed), bytearray(MIB)
    data[0::2] = random.randbytes(MIB // 2)
    data[1::2] = random.randbytes(MIB // 2).translate(_HIGH)
    return bytes(data)


def stepped(data: bytes, seed: str) -> bytes:
    """The same numbers, one of six a little different: a step of training."""
    mask = bytearray(len(data))
    mask[0::2] = Random(seed).randbytes(len(data) // 2).translate(_RARE)
    return (int.from_bytes(data) ^ int.from_bytes(mask)).to_bytes(len(data))


def rows(seed: str) -> bytes:
    """A mebibyte of a table, about."""
    return Random(seed).randbytes(MIB // 2).hex("\n", 32).encode() + b"\n"


def write_model(path: Path, tensors: Iterable[bytes]) -> None:
    """A safetensors file of these tensors: each is a chunk."""
    held = list(tensors)
    header = {
        f"layer.{n}": {"dtype": "BF16", "shape": [MIB // 2], "data_offsets": [n * MIB, (n + 1) * MIB]}
        for n in range(len(held))
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.writelines([len(text).to_bytes(8, "little"), text, *held])


# --- to be called in a process of ours first (Zygote)


def small_packs() -> None:
    """Let a push make chunk packs of a few mebibytes: several of them."""
    from modelops_bundle.plan import delta

    delta.LEAST_PACK = LEAST_PACK


def small_packs_unkept() -> None:
    """The same, with no room to keep them until they are sent: they are made again on their way."""
    from modelops_bundle.operations import delta

    small_packs()
    delta.free_bytes = lambda _path: 0  # type: ignore[attr-defined, assignment]


def small_buffers() -> None:
    """Let the kernel take in little of what nobody has read yet."""
    import socket

    from urllib3.connection import HTTPConnection

    # In place: it is the default of an argument as well.
    options = HTTPConnection.default_socket_options
    options.append((socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024))
