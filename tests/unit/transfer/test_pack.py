"""Packs as a reader: made from their members whenever they are read."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator

import pytest

from modelops_bundle.errors import Interrupted, NotFound, WorkspaceChanged
from modelops_bundle.events import Run
from modelops_bundle.model import packs
from modelops_bundle.model.packs import Member, Pack
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.transfer import pack
from modelops_bundle.transfer.pack import Packs
from tests.support.things import blob, file

DATA = {"a": b"a" * 70_000, "b/c": b"c", "b/empty": b"", "x": b"x" * 300_000}
MEMBERS: tuple[Member, ...] = tuple(
    Snapshot({**{path: file(data) for path, data in DATA.items()}, "b/dir": Entry.directory()}).items()
)


def contents(path: str) -> list[bytes]:
    return [DATA[path][at : at + 9_999] for at in range(0, len(DATA[path]), 9_999)]


@pytest.fixture
def sealed() -> Pack:
    return pack.seal(MEMBERS, contents, Run())


def test_a_sealed_pack_is_what_is_read(sealed: Pack) -> None:
    made = b"".join(pack.blob(MEMBERS, contents))
    assert (sealed.digest.hex, sealed.size) == (hashlib.sha256(made).hexdigest(), len(made))
    with tarfile.TarFile(fileobj=io.BytesIO(gzip.decompress(made))) as archive:
        assert archive.getnames() == ["b", "b/dir", *DATA]
    reader = Packs([sealed], contents)
    what = blob(made)
    assert reader.has(what)
    with reader.open(what) as chunks:
        assert b"".join(chunks) == made


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (10, 15), (65_000, 66_000), (1, None), (300_000, 10**9)])
def test_a_part_of_a_pack(sealed: Pack, start: int, stop: int | None) -> None:
    made = b"".join(pack.blob(MEMBERS, contents))
    with Packs([sealed], contents).open(blob(made), start, stop) as chunks:
        assert b"".join(chunks) == made[start:stop]


def test_another_blob_is_not_here(sealed: Pack) -> None:
    reader = Packs([sealed], contents)
    assert not reader.has(blob(b"x"))
    with pytest.raises(NotFound), reader.open(blob(b"x")):
        pass


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1] + b"?",
        lambda data: data[:-1],
        lambda data: data + b"?",
        lambda data: b"",
    ],
    ids=["edited", "shorter", "longer", "gone"],
)
@pytest.mark.parametrize("path", ["a", "b/c", "x"])
def test_no_pack_is_sealed_over_a_member_that_is_not_what_its_entry_says(
    path: str, change: Callable[[bytes], bytes]
) -> None:
    """The registry checks the pack's digest only: nobody could ever pull such a version."""

    def changed(wanted: str) -> list[bytes]:
        return [change(DATA[path])] if wanted == path else contents(wanted)

    with pytest.raises(WorkspaceChanged) as caught:
        pack.seal(MEMBERS, changed, Run())
    assert caught.value.facts["path"] == path


def test_sealing_stops_when_it_is_told_to() -> None:
    run = Run()
    run.cancelled.set()
    with pytest.raises(Interrupted):
        pack.seal(MEMBERS, contents, run)


def test_a_reader_that_is_left_early_closes_what_it_reads() -> None:
    closed = []

    def watched(path: str) -> Iterator[bytes]:
        try:
            yield from contents(path)
        finally:
            closed.append(path)

    large = file(b"x" * 5_000_000)
    DATA["large"] = b"x" * 5_000_000
    try:
        chunks = pack.blob((("large", large),), watched)
        for _ in zip(range(3), chunks, strict=False):
            pass
        chunks.close()  # type: ignore[attr-defined]
    finally:
        del DATA["large"]
    assert closed == ["large"]


def test_the_size_is_known_before_anything_is_read(sealed: Pack) -> None:
    assert sealed.size == packs.gzip_size(packs.tar_size(MEMBERS))
