"""The content of an open file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.disk import chunks
from modelops_bundle.disk.chunks import FileChunks
from modelops_bundle.model.ports import SendFile, Span

DATA = bytes(range(256)) * 12_000


@pytest.fixture(scope="module")
def descriptor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    path: Path = tmp_path_factory.mktemp("chunks") / "file"
    path.write_bytes(DATA)
    opened = os.open(path, os.O_RDONLY)
    yield opened
    os.close(opened)


def bytes_of(found: FileChunks, start: int) -> bytes:
    pieces = (
        os.pread(piece.descriptor, len(piece), piece.start) if isinstance(piece, Span) else piece
        for piece in found.spans(start)
    )
    return b"".join(pieces)


@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_blocks_and_spans_are_the_same_bytes(descriptor: int, start: int, stop: int, skip: int) -> None:
    start, stop = sorted((start, stop))
    skip = min(skip, stop - start)
    asked: list[None] = []

    def made() -> FileChunks:
        return FileChunks("f", descriptor, start, stop, lambda: asked.append(None))

    assert b"".join(made()) == DATA[start:stop]
    assert bytes_of(made(), skip) == DATA[start + skip : stop]
    assert isinstance(made(), SendFile)
    assert asked


def test_the_last_piece_comes_after_the_look(descriptor: int) -> None:
    looks: list[int] = []
    had = 0
    found = FileChunks("f", descriptor, 0, len(DATA), lambda: looks.append(had))
    for piece in found.spans():
        had += len(piece)
    assert looks == [len(DATA) - chunks._TAIL, len(DATA)]


def test_a_change_withholds_the_end(descriptor: int) -> None:
    class Changed(Exception):
        pass

    def changed() -> None:
        raise Changed

    got = 0
    with pytest.raises(Changed):
        for block in FileChunks("f", descriptor, 0, len(DATA), changed):
            got += len(block)
    assert got < len(DATA)
