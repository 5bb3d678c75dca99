"""The content of an open file, in blocks or left where it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from modelops_bundle.disk.problems import translated
from modelops_bundle.model.ports import Piece, Span

_BLOCK = 1024 * 1024
_TAIL = 64 * 1024
"""Bytes at the end of a file that are read before it is looked at for the last time."""


class FileChunks:
    """Bytes of an open file as an iterator of blocks, or as spans of it (`SendFile`).

    :param check: raises when the file is no longer what it was.
    """

    def __init__(self, path: str, descriptor: int, start: int, stop: int, check: Callable[[], None]) -> None:
        self._path = path
        self._descriptor = descriptor
        self._start = start
        self._stop = stop
        self._check = check
        self._blocks = self._read()

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def __next__(self) -> bytes:
        return next(self._blocks)

    def spans(self, start: int = 0) -> Iterator[Piece]:
        """The bytes from the `start`-th on; all but the last few are not read here."""
        begin = self._start + start
        tail = max(begin, self._stop - _TAIL)
        for at in range(begin, tail, _BLOCK):
            yield Span(self._descriptor, at, min(at + _BLOCK, tail))
        with translated(f"read {self._path}"):
            last = os.pread(self._descriptor, self._stop - tail, tail)
        # Before the last piece is handed on: after it the receiver has everything.
        self._check()
        if last:
            yield last
        self._check()

    def _read(self) -> Iterator[bytes]:
        at = self._start
        with translated(f"read {self._path}"):
            while at < self._stop and (block := os.pread(self._descriptor, min(_BLOCK, self._stop - at), at)):
                at += len(block)
                if at >= self._stop:
                    self._check()
                yield block
        self._check()
