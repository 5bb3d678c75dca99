"""What compressed content holds, as a stream: gzip (RFC 1952), zstd (RFC 8878), or nothing around it.

The first bytes decide, never a media type: makers and their media types disagree, and a decoder believes bytes alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Literal

from modelops_bundle.errors import Corrupt

Coding = Literal["none", "gzip", "zstd"]

FREE = 64 << 20
"""Bytes that anything may unpack to."""
RATIO = 200
"""Bytes that one further byte may: weights and texts stay below 20, what is made to fill a disk is above 1000."""
_PIECE = 1 << 20
_WINDOW = 1 << 27
"""Bytes of memory that a zstd frame may ask for."""
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"


def most(packed: int) -> int:
    """The bytes that `packed` bytes may unpack to."""
    return FREE + RATIO * packed


def coding_of(head: bytes) -> Coding:
    """What the first four bytes say."""
    return "gzip" if head.startswith(_GZIP) else "zstd" if head.startswith(_ZSTD) else "none"


def sniffed(chunks: Iterable[bytes]) -> tuple[Coding, Iterator[bytes]]:
    """What `chunks` are coded as, and all of them."""
    source, head = iter(chunks), b""
    for chunk in source:
        head += chunk
        if len(head) >= len(_ZSTD):
            break
    return coding_of(head), chain([head], source)


def decoded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What `chunks` hold, in pieces of at most 1 MiB.

    `chunks` are read to their end, so that whoever checks them comes to a verdict.

    :raises Corrupt: the compression is damaged, or unpacks to more than `most` of what was read.
    """
    coding, source = sniffed(chunks)
    if coding == "none":
        yield from source
        return
    packed = size = 0

    def counted() -> Iterator[bytes]:
        nonlocal packed
        for chunk in source:
            packed += len(chunk)
            yield chunk

    for piece in gunzipped(counted()) if coding == "gzip" else unzstd(counted()):
        size += len(piece)
        if size > most(packed):
            raise Corrupt(f"{packed} compressed bytes unpack to more than {most(packed)}, which nothing honest does")
        yield piece


def gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What a gzip of one or several members holds.

    :raises Corrupt: it is damaged or cut off.
    """
    unpack, begun = zlib.decompressobj(31), False
    for chunk in chunks:
        data = chunk
        while data:
            try:
                piece = unpack.decompress(data, _PIECE)
            except zlib.error as error:
                raise Corrupt(f"the compressed content is damaged: {error}") from error
            if piece:
                yield piece
            begun, data = True, unpack.unconsumed_tail
            if unpack.eof:
                data, begun = unpack.unused_data, False
                unpack = zlib.decompressobj(31)
    if begun:
        raise Corrupt("the compressed content is cut off")


def unzstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What zstd frames hold.

    :raises Corrupt: they are damaged or cut off.
    """
    import zstandard  # noqa: PLC0415  few runs meet any

    source: Any = _Source(chunks)
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(source, read_across_frames=True)
        with reader:
            while data := reader.read(_PIECE):
                yield data
    except zstandard.ZstdError as error:
        raise Corrupt(f"the compressed content is damaged: {error}") from error


class _Source:
    """Chunks as what a decompressor reads from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int) -> bytes:
        data = self._rest or next(self._chunks, b"")
        self._rest = data[size:]
        return data[:size]


class Stream:
    """Bytes in order, in the portions that somebody wants."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.at = 0
        """Bytes that were taken."""

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes, as they come; fewer only at the end."""
        while size:
            while not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._rest = memoryview(chunk)
            piece, self._rest = self._rest[:size], self._rest[size:]
            self.at += len(piece)
            size -= len(piece)
            yield piece

    def read(self, size: int) -> bytes:
        """The next `size` bytes at once; fewer only at the end."""
        return b"".join(self.pieces(size))

    def skip(self, size: int) -> None:
        """Leave the next `size` bytes out."""
        for _ in self.pieces(size):
            pass
