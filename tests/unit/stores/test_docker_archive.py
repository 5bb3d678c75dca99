"""Layers that somebody unpacked are the blobs they were, at any place."""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from modelops_bundle.model import packs
from modelops_bundle.stores.docker_archive import Held, Pressed, Slice, belongs, is_link


class Bytes:
    """An archive in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]

    def chunks(self, start: int, stop: int):  # type: ignore[no-untyped-def]
        return iter((self.data[start:stop],))

    def close(self) -> None: ...


@pytest.mark.parametrize("size", [0, 1, packs.STORED - 1, packs.STORED, packs.STORED + 1, 3 * packs.STORED, 200_001])
def test_any_part_of_a_layer_is_that_of_its_gzip(size: int) -> None:
    random = Random(size)
    tar = random.randbytes(size)
    gzip = b"".join(packs.framed([tar], size))
    blob = Pressed(Slice(Bytes(b"before" + tar + b"after"), 6, size), gzip[-8:])
    assert blob.size == len(gzip)
    assert b"".join(blob.chunks(0, blob.size)) == gzip
    edges = [0, 1, 9, 10, 11, 15, 16, len(gzip) - 9, len(gzip) - 8, len(gzip) - 1, len(gzip)]
    edges += [10 + block * 65540 + near for block in range(4) for near in (-1, 0, 1, 5)]
    edges = sorted(
        {edge for edge in edges if 0 <= edge <= len(gzip)} | {random.randrange(len(gzip)) for _ in range(20)}
    )
    for start in edges:
        for stop in edges:
            if start <= stop:
                assert b"".join(blob.chunks(start, stop)) == gzip[start:stop], (start, stop)


def test_slices_end_where_their_member_ends() -> None:
    part = Slice(Bytes(b"before content after"), 7, 7)
    assert (part.read(0, 100), part.read(3, 2), part.read(7, 1)) == (b"content", b"te", b"")
    assert b"".join(part.chunks(1, 3)) == b"on"
    assert b"".join(Held(b"content").chunks(1, 3)) == b"on"


def test_names_in_such_archives() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    for name in (f"{digest}.tar", f"{digest}.tar.gz", f"{digest}.json", f"sha256:{digest}", f"{digest}/json"):
        assert belongs(name, is_file=True)
    for name in ("evil", f"../{digest}.tar", f"{digest}/../x", f"/{digest}.json", f"{digest}.TAR", f"{digest}/evil"):
        assert not belongs(name, is_file=True)
        assert not belongs(name, is_file=False)
        assert not is_link(name)
    assert belongs(digest, is_file=False)
    assert is_link(f"{digest}/layer.tar")
