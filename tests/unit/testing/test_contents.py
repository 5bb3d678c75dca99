"""Content in files, as the contract of stores uses it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelops_bundle.errors import WorkspaceChanged
from modelops_bundle.model.ports import Openable, SendFile, Span
from modelops_bundle.testing.contents import InFile

DATA = os.urandom(700_001)


def joined(file: InFile, start: int) -> bytes:
    out = b""
    with file.open() as chunks:
        assert isinstance(chunks, SendFile)
        for piece in chunks.spans(start):
            out += os.pread(piece.descriptor, len(piece), piece.start) if isinstance(piece, Span) else piece
    return out


@pytest.mark.parametrize("start", [0, 1, 300_000, 699_500, 700_001])
def test_spans_are_the_content(tmp_path: Path, start: int) -> None:
    file = InFile(tmp_path / "f", DATA)
    assert isinstance(file, Openable)
    assert joined(file, start) == DATA[start:]
    assert (file.opened, file.spanned) == (1, [start])


def test_it_iterates_from_the_start_each_time(tmp_path: Path) -> None:
    file = InFile(tmp_path / "f", DATA)
    assert b"".join(file) == b"".join(file) == DATA


def test_a_change_is_found_before_the_last_piece(tmp_path: Path) -> None:
    file = InFile(tmp_path / "f", DATA, changes=True)
    with pytest.raises(WorkspaceChanged):
        joined(file, 0)
    with pytest.raises(WorkspaceChanged):
        list(file)
