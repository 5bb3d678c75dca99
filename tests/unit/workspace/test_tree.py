"""The working tree as a reader: content by digest, only in the state it was hashed in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import BundleError, DiskError, NotFound, WorkspaceChanged
from modelops_bundle.model.ports import SendFile, Span
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.workspace.tree import _BLOCK, WorkTree
from tests.support.things import blob, file

BIG = bytes(range(256)) * 10_000


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "small").write_bytes(b"0123456789")
    (tmp_path / "big").write_bytes(BIG)
    (tmp_path / "empty").write_bytes(b"")
    yield tmp_path


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    with Tree(root) as opened:
        yield opened


def keys(root: Path) -> dict[str, StatKey]:
    return {name: StatKey.of((root / name).stat()) for name in ("small", "big", "empty")}


def reader(tree: Tree, known: Mapping[str, tuple[int, ...]]) -> WorkTree:
    entries = {"small": file(b"0123456789"), "big": file(BIG), "empty": file(b""), "l": Entry.link("small")}
    return WorkTree(tree, Snapshot(entries), known)


def read(found: WorkTree, data: bytes, start: int = 0, stop: int | None = None) -> bytes:
    with found.open(blob(data), start, stop) as chunks:
        return b"".join(chunks)


@pytest.mark.parametrize("data", [b"0123456789", BIG, b""])
def test_content_is_read_by_digest(tree: Tree, root: Path, data: bytes) -> None:
    found = reader(tree, keys(root))
    assert found.has(blob(data))
    assert read(found, data) == data


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (3, None), (3, 7), (10, None), (5, 5), (0, 0)])
def test_ranges(tree: Tree, root: Path, start: int, stop: int | None) -> None:
    assert read(reader(tree, keys(root)), b"0123456789", start, stop) == b"0123456789"[start:stop]


def test_chunks_are_bounded(tree: Tree, root: Path) -> None:
    with reader(tree, keys(root)).open(blob(BIG)) as chunks:
        assert max(len(chunk) for chunk in chunks) <= _BLOCK


def test_what_nobody_holds_is_not_found(tree: Tree, root: Path) -> None:
    found = reader(tree, keys(root))
    for data in (b"else", b"small"):
        assert not found.has(blob(data))
        with pytest.raises(NotFound):
            read(found, data)


def test_a_file_that_changed_since_it_was_hashed_is_not_read(tree: Tree, root: Path) -> None:
    found = reader(tree, keys(root))
    (root / "small").write_bytes(b"9876543210")
    with pytest.raises(WorkspaceChanged, match="small changed since it was hashed"):
        read(found, b"0123456789")


def test_a_preserved_modification_time_does_not_help(tree: Tree, root: Path) -> None:
    before = (root / "small").stat()
    found = reader(tree, keys(root))
    (root / "small").write_bytes(b"9876543210")
    os.utime(root / "small", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(WorkspaceChanged):
        read(found, b"0123456789")


@pytest.mark.parametrize("edit", ["append", "truncate", "replace"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_change_while_it_is_read_never_ends_well(tree: Tree, root: Path, edit: str, after: int) -> None:
    found = reader(tree, keys(root))
    got = b""
    with pytest.raises(WorkspaceChanged), found.open(blob(BIG)) as chunks:
        for number, chunk in enumerate(chunks):
            got += chunk
            if number == after and edit == "append":
                with open(root / "big", "ab") as out:
                    out.write(b"x")
            elif number == after and edit == "truncate":
                os.truncate(root / "big", 10)
            elif number == after:
                (root / "big").write_bytes(b"y" * len(BIG))
    assert after == 2 or len(got) < len(BIG), "the receiver never had everything"


def test_a_file_that_is_gone_or_a_link_by_now_is_an_error(tree: Tree, root: Path) -> None:
    found = reader(tree, keys(root))
    (root / "small").unlink()
    with pytest.raises(DiskError):
        read(found, b"0123456789")
    (root / "small").symlink_to("big")
    with pytest.raises(BundleError):
        read(found, b"0123456789")


def test_without_keys_the_bytes_are_read_as_they_are(tree: Tree, root: Path) -> None:
    (root / "small").write_bytes(b"987654321")
    assert read(reader(tree, {}), b"0123456789") == b"987654321"


def test_the_descriptor_is_closed(tree: Tree, root: Path) -> None:
    found = reader(tree, keys(root))
    count = len(os.listdir("/dev/fd"))
    with found.open(blob(BIG)) as chunks:
        next(chunks)
    assert len(os.listdir("/dev/fd")) == count


# --- as parts of the file


def spans(chunks: SendFile, start: int = 0) -> bytes:
    return b"".join(
        os.pread(piece.descriptor, len(piece), piece.start) if isinstance(piece, Span) else piece
        for piece in chunks.spans(start)
    )


@pytest.mark.parametrize("data", [b"0123456789", BIG, b""])
@pytest.mark.parametrize("start", [0, 1, 10, 1_500_000])
def test_spans_are_the_same_bytes(tree: Tree, root: Path, data: bytes, start: int) -> None:
    with reader(tree, keys(root)).open(blob(data)) as chunks:
        assert isinstance(chunks, SendFile)
        assert spans(chunks, min(start, len(data))) == data[start:]


def test_spans_of_a_range(tree: Tree, root: Path) -> None:
    with reader(tree, keys(root)).open(blob(BIG), 1000, 2_000_000) as chunks:
        assert isinstance(chunks, SendFile)
        assert spans(chunks, 5) == BIG[1005:2_000_000]


def test_most_of_a_file_is_not_read_and_its_end_is(tree: Tree, root: Path) -> None:
    with reader(tree, keys(root)).open(blob(BIG)) as chunks:
        assert isinstance(chunks, SendFile)
        *most, last = chunks.spans()
        assert all(isinstance(piece, Span) and len(piece) <= _BLOCK for piece in most)
        assert isinstance(last, bytes)
        assert 0 < len(last) < _BLOCK


def test_content_whose_state_is_not_known_is_not_offered_so(tree: Tree) -> None:
    with reader(tree, {}).open(blob(BIG)) as chunks:
        assert not isinstance(chunks, SendFile)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_change_while_spans_are_sent_withholds_the_end(tree: Tree, root: Path, after: int) -> None:
    got = 0
    with pytest.raises(WorkspaceChanged), reader(tree, keys(root)).open(blob(BIG)) as chunks:
        assert isinstance(chunks, SendFile)
        for number, piece in enumerate(chunks.spans()):
            got += len(piece)
            if number == after:
                (root / "big").write_bytes(b"y" * len(BIG))
    assert got < len(BIG)


def test_a_path_is_opened_before_its_digest_is_known(tree: Tree, root: Path) -> None:
    found = WorkTree(tree, Snapshot({}), keys(root))
    with found.open_path("big", 0, len(BIG)) as chunks:
        assert isinstance(chunks, SendFile)
        assert spans(chunks) == BIG
    (root / "big").write_bytes(b"y" * len(BIG))
    with pytest.raises(WorkspaceChanged), found.open_path("big", 0, len(BIG)):
        pass
