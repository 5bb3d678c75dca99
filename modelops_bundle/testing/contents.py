"""Content to put into stores, as files offer it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelops_bundle.errors import WorkspaceChanged
from modelops_bundle.model.ports import Chunks, Piece, Span


class InFile:
    """Content in a file (`Openable`, whose chunks are a `SendFile`) that notes how it was read.

    :param changes: the guard finds the file changed whenever it looks.
    """

    def __init__(self, path: Path, data: bytes, *, changes: bool = False) -> None:
        path.write_bytes(data)
        self._path = path
        self.changes = changes
        self.opened = 0
        self.spanned: list[int] = []
        """Where each reading as spans began."""

    def __iter__(self) -> Iterator[bytes]:
        with self.open() as chunks:
            yield from chunks

    @contextmanager
    def open(self) -> Iterator[Chunks]:
        """The content, once more."""
        self.opened += 1
        with self._path.open("rb") as file:
            yield _FileChunks(self, file.fileno())

    def look(self) -> None:
        """The guard."""
        if self.changes:
            raise WorkspaceChanged("it changed")


class _FileChunks:
    def __init__(self, owner: InFile, descriptor: int) -> None:
        self._owner = owner
        self._descriptor = descriptor
        self._at = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = os.pread(self._descriptor, 256 * 1024, self._at)
        self._at += len(data)
        if not data:
            self._owner.look()
            raise StopIteration
        return data

    def spans(self, start: int = 0) -> Iterator[Piece]:
        self._owner.spanned.append(start)
        stop = os.fstat(self._descriptor).st_size
        tail = max(start, stop - 1000)
        for at in range(start, tail, 300_000):
            yield Span(self._descriptor, at, min(at + 300_000, tail))
        self._owner.look()
        if tail < stop:
            yield os.pread(self._descriptor, stop - tail, tail)
        self._owner.look()
