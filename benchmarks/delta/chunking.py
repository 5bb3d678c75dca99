"""What chunks cost beside the digest of a file: `python -m benchmarks.delta.chunking FILE`, in a process of its own.

Reads FILE, which should be in the page cache, in the blocks the product reads it in: for SHA-256 alone, and for SHA-256 and
chunks in the same pass. Prints JSON: bytes per second of this process's CPU, reading included; the best of three each.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.world import World
from modelops_bundle.disk.hashing import BLOCK
from modelops_bundle.formats.chunker import Chunker
from modelops_bundle.formats.cuts import chunker_for

LEAST = 1e9
"""Bytes per second of one core that chunks have to be found at."""
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes per CPU second of one file: of its digest `alone`, of digest and chunks `together`; or why there are none."""

    name: str
    chunker: str = ""
    alone: float = 0.0
    together: float = 0.0
    failure: str = ""

    @property
    def chunks(self) -> float:
        """What the chunks cost, if they cost what they add."""
        added = 1 / self.together - 1 / self.alone
        return 1 / added if added > 0 else float("inf")

    @property
    def met(self) -> bool | None:
        return None if self.failure else self.chunks >= LEAST


def rates(world: World, paths: list[Path]) -> Iterator[Rate]:
    """Measure each file in a process of its own."""
    for path in paths:
        said = world.output([sys.executable, "-m", "benchmarks.delta.chunking", str(path)])
        try:
            yield Rate(path.name, **json.loads(said))
        except ValueError:
            yield Rate(path.name, failure=world.hide(f"failed: {said[-400:]}"))


def measure(path: Path) -> dict[str, float | str]:
    """The rates of one file, as fields of `Rate`."""
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:

        def read(offset: int, count: int) -> bytes:
            return os.pread(file.fileno(), count, offset)

        plan = chunker_for(path.name, size, read, smallest=1)
        assert plan is not None
        alone = _fastest(size, lambda: _pass(file.fileno(), hashlib.sha256().update))

        def both() -> None:
            hasher, chunker = hashlib.sha256(), Chunker(plan, size)

            def take(data: memoryview) -> None:
                hasher.update(data)
                chunker.feed(data)

            _pass(file.fileno(), take)
            chunker.finish()

        together = _fastest(size, both)
    return {"chunker": plan.chunker, "alone": alone, "together": together}


def _pass(descriptor: int, take: Callable[[memoryview], object]) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    view = memoryview(bytearray(BLOCK))
    while count := os.readv(descriptor, [view]):
        take(view[:count])


def _fastest(size: int, work: Callable[[], None]) -> float:
    spent = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return size / min(spent)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
