"""What delta versions (tests.support.chunked) are in the hands of tools that know nothing of chunks."""

from __future__ import annotations

from pathlib import Path
from random import Random

from modelops_bundle.model import media
from tests.support.chunked import Version

STEP = 1000
"""Bytes of a chunk."""


def pulled(version: Version, root: Path) -> Path:
    """What a plain `oras pull` makes of a version without packs of small files; `root`."""
    for layer in version.artifact.manifest.layers:
        path = root / layer.annotations[media.TITLE]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(version.blobs[layer.digest])
    return root


def weights(seed: int, size: int) -> bytes:
    """Bytes of which every chunk shrinks when it is compressed, as chunks in packs have to."""
    random = Random(seed)
    return b"".join(random.randbytes(STEP // 2) + bytes(STEP // 2) for _ in range(0, size, STEP))[:size]


def near(data: bytes) -> bytes:
    """Other bytes in every chunk, few of them: what differences are made for."""
    changed = bytearray(data)
    for at in range(0, len(changed), STEP // 2):
        changed[at] ^= 1
    return bytes(changed)


def edited(data: bytes, *chunks: int) -> bytes:
    """The same file with other bytes in those chunks."""
    changed = bytearray(data)
    for number in chunks:
        changed[number * STEP : (number + 1) * STEP] = weights(number, STEP)
    return bytes(changed)[: len(data)]
