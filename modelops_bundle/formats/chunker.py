"""Files cut into chunks while they are read for another reason: lengths and BLAKE3 digests."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Protocol

from modelops_bundle.errors import Corrupt
from modelops_bundle.formats.cuts import Plan, fastcdc

_BUFFER = 1 << 20
"""Bytes that content-defined cuts are looked for in at once, at least: what stays in a processor's cache is read once."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The chunks of a file, in order.

    :param sizes: their bytes.
    :param digests: the BLAKE3-256 of each, 32 bytes one after another.
    """

    sizes: array[int]
    digests: bytes


class _Cutter(Protocol):
    def feed(self, data: memoryview) -> None: ...
    def finish(self) -> Columns: ...


class Chunker:
    """Takes a file's bytes in pieces of any length; the chunks do not depend on the pieces.

    :param plan: where to cut. :param size: bytes of the file.
    """

    def __init__(self, plan: Plan, size: int) -> None:
        self._size = size
        self._fed = 0
        self._cutter: _Cutter = _Listed(plan.sizes) if plan.sizes is not None else _Defined(plan.parameters)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes of the file. They are not kept."""
        self._fed += len(data)
        if self._fed <= self._size and data:
            self._cutter.feed(memoryview(data))

    def finish(self) -> Columns:
        """The chunks.

        :raises Corrupt: the bytes that came are not as many as the file or the plan has.
        """
        if self._fed != self._size:
            raise Corrupt(f"{self._fed} bytes came of a file of {self._size}")
        found = self._cutter.finish()
        if sum(found.sizes) != self._size or len(found.digests) != 32 * len(found.sizes):
            raise Corrupt(f"the cuts of a file of {self._size} bytes are those of another one")
        return found


class _Listed:
    """Cuts that are known: each chunk is hashed as it comes, nothing is held."""

    def __init__(self, sizes: array[int]) -> None:
        from blake3 import blake3  # noqa: PLC0415  few runs need it

        self._new = blake3
        self._sizes = sizes
        self._digests = bytearray()
        self._lengths = iter(sizes)
        self._hasher = blake3()
        self._left = next(self._lengths, 0)

    def feed(self, data: memoryview) -> None:
        at = 0
        while at < len(data) and self._left:
            piece = data[at : at + self._left]
            self._hasher.update(piece)
            at += len(piece)
            self._left -= len(piece)
            if not self._left:
                self._digests += self._hasher.digest()
                self._hasher = self._new()
                self._left = next(self._lengths, 0)

    def finish(self) -> Columns:
        return Columns(self._sizes, bytes(self._digests))


class _Defined:
    """Cuts that follow from the content.

    A cut depends on nothing before its chunk and on at most the longest chunk's bytes behind its start, so it is final as
    soon as those are there.
    """

    def __init__(self, parameters: tuple[int, int, int]) -> None:
        from blake3 import blake3  # noqa: PLC0415  few runs need it

        self._cdc = fastcdc(parameters)
        self._longest = parameters[2]
        self._hash = blake3
        self._sizes = array("I")
        self._digests: list[bytes] = []
        self._buffer = memoryview(bytearray(max(_BUFFER, 2 * self._longest)))
        self._held = 0

    def feed(self, data: memoryview) -> None:
        at = 0
        while at < len(data):
            piece = data[at : at + len(self._buffer) - self._held]
            self._buffer[self._held : self._held + len(piece)] = piece
            self._held += len(piece)
            at += len(piece)
            if self._held == len(self._buffer):
                self._cut(self._longest)

    def finish(self) -> Columns:
        self._cut(1)
        return Columns(self._sizes, b"".join(self._digests))

    def _cut(self, ahead: int) -> None:
        """Cut while at least `ahead` bytes are behind the last cut, and keep the rest."""
        at, held = 0, self._held
        last = held - ahead
        new, sizes, digests = self._hash, self._sizes.append, self._digests.append
        chunks = self._cdc.cut_buf(self._buffer[:held])
        while at <= last:
            chunk = next(chunks)
            length = chunk.length
            sizes(length)
            digests(new(chunk.data).digest())
            at += length
        self._buffer[: held - at] = self._buffer[at:held]
        self._held = held - at
