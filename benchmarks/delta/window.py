"""How much memory a delta push of a file far larger than memory takes.

The file is 50 GiB long, and sparse: one tensor of 25 is gaussian, the others are zeros, so that it costs little disk and
yet every chunk is read, hashed, looked up and listed. The link is slower than the encoder, so that what is encoded has to
wait: a queue without bound would show.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.delta.edits import MODEL, TUNED_STEP
from benchmarks.delta.weights import Tensor, as_bfloat16, moved
from benchmarks.measure import MIB, Cost, Failed, execute
from benchmarks.scene import BUNDLE
from benchmarks.servers import Link
from benchmarks.world import World

SIZE, QUICK_SIZE = 50 << 30, 4 << 30
MATRIX = 8192
"""Rows and columns of a tensor: 128 MiB."""
FILLED = 25
"""One of so many tensors is not zeros."""
RATE = 30e6
"""Bytes per second of each connection."""
LIMIT = 200 * MIB
"""The most a push may hold, at any size."""
_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class Peak:
    """What a push of this was, and what it took; a text instead of figures when it failed."""

    work: str
    size: int
    found: Cost | str

    @property
    def met(self) -> bool | None:
        return self.found.rss <= LIMIT if isinstance(self.found, Cost) else None


def write(path: Path, size: int, matrix: int = MATRIX) -> None:
    """A safetensors file of about `size` bytes, most of them holes; of square matrices with `matrix` rows."""
    each = 2 * matrix * matrix
    count = size // each
    header = {
        f"layer.{number}": {
            "dtype": "BF16",
            "shape": [matrix, matrix],
            "data_offsets": [number * each, (number + 1) * each],
        }
        for number in range(count)
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + count * each)
    for number in range(0, count, FILLED):
        fill(path, number, matrix)


def fill(path: Path, number: int, matrix: int = MATRIX, *, trained: bool = False) -> None:
    """Give the tensor with this number its weights, or those it has one fine-tuning later."""
    tensor = Tensor(f"layer.{number}", matrix, matrix, 0.02)
    with path.open("r+b") as file:
        (header,) = struct.unpack("<Q", file.read(8))
        file.seek(8 + header + number * 2 * tensor.count)
        file.writelines(as_bfloat16(tensor, moved(TUNED_STEP) if trained else None))


def measure(world: World, *, quick: bool = False) -> Iterator[Peak]:
    """The first push of it, and the next one, when one of the tensors is another."""
    size = QUICK_SIZE if quick else SIZE
    tree = world.place("window")
    tree.mkdir()
    write(tree / MODEL, size)
    with world.link(rate=RATE) as slow:
        reference = f"{slow.host}/{world.fresh('window')}"
        for command in (["init", reference], ["add", "."]):
            world.do([BUNDLE, "-q", *command], tree)
        size = os.stat(tree / MODEL).st_size
        yield Peak("first push", size, _push(world, slow, tree, "v1"))
        fill(tree / MODEL, FILLED, trained=True)
        yield Peak("push, one tensor changed", size, _push(world, slow, tree, "v2"))
    world.drop(tree)


def _push(world: World, slow: Link, tree: Path, tag: str) -> Cost | str:
    before, _ = slow.carried()
    try:
        cost = execute([BUNDLE, "push", "--delta", "--tag", tag], tree, world.environment, _TIMEOUT)
    except Failed as error:
        return world.hide(f"failed: {error}")
    return replace(cost, sent=slow.carried()[0] - before)
