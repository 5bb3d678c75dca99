"""The bytes of an archive, whatever compresses it: at random, without ever holding much.

What is compressed for real is unpacked into a file without a name first, up to what the disk has room for; gzip that only
frames (stored blocks, as `bundle export` writes it) is read in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from modelops_bundle.disk.chunks import FileChunks
from modelops_bundle.disk.files import free_bytes
from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import Corrupt, DiskFull, NotFound
from modelops_bundle.events import Run
from modelops_bundle.formats import coding
from modelops_bundle.model import packs

_PIECE = 1 << 20
_RESERVE = 64 << 20
"""Bytes of the disk that are left free for everybody else."""


class Readable(Protocol):
    """Bytes at random."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """As many bytes as asked for, fewer only at the end."""
        ...

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` to before `stop`, as parts of a file where they lie in one (`SendFile`).

        :raises Corrupt: there are fewer.
        """
        ...

    def close(self) -> None:
        """Let go of them."""
        ...


def blocks(source: Readable, start: int, stop: int) -> Iterator[bytes]:
    """The bytes from `start` to before `stop`. :raises Corrupt: there are fewer."""
    while start < stop:
        data = source.read(start, min(_PIECE, stop - start))
        if not data:
            raise Corrupt("the archive became shorter")
        start += len(data)
        yield data


class _Plain:
    """A file as it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with translated(f"open {path}"):
            try:
                self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NotFound(f"no archive at {path}", path=str(path)) from error
            self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        with translated(f"read {self._path}"):
            return os.pread(self._descriptor, size, offset)

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        return FileChunks(str(self._path), self._descriptor, start, stop, self._check)

    def _check(self) -> None:
        """:raises Corrupt: it is not as long as it was."""
        if os.fstat(self._descriptor).st_size < self.size:
            raise Corrupt(f"{self._path} became shorter")

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Framed:
    """A gzip of stored blocks of 65,535 bytes (RFC 1951 §3.2.4), as `model.packs` writes it."""

    def __init__(self, plain: Readable, size: int) -> None:
        self._plain = plain
        self.size = size

    @classmethod
    def of(cls, plain: Readable) -> Framed | None:
        """None when it is any other gzip."""
        if plain.size < packs.gzip_size(0):
            return None
        blocks = -(-(plain.size - packs.gzip_size(0) + 5) // (packs.STORED + 5))
        size = plain.size - packs.gzip_size(0) + 5 - 5 * max(1, blocks)
        if plain.size != packs.gzip_size(size) or plain.read(0, len(packs.GZIP_HEAD)) != packs.GZIP_HEAD:
            return None
        for block in range(max(1, blocks)):
            at = packs.position(block * packs.STORED) - 5
            if plain.read(at, 5) != packs.block_head(size - block * packs.STORED):
                return None
        return cls(plain, size)

    def read(self, offset: int, size: int) -> bytes:
        """As many bytes of what is in it as asked for, fewer only at the end."""
        stop = min(offset + size, self.size)
        if offset >= stop:
            return b""
        start = packs.position(offset)
        framed = self._plain.read(start, packs.position(stop - 1) + 1 - start)
        return b"".join(packs.unframed([framed], offset, stop))

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of what is in it, from `start` to before `stop`."""
        return blocks(self, start, stop)

    def close(self) -> None:
        """Let go of the file."""
        self._plain.close()


class _Spooled:
    """What was unpacked."""

    def __init__(self, spool: Spool, size: int) -> None:
        self._spool = spool
        self.size = size

    def read(self, offset: int, size: int) -> bytes:
        with translated("read what was unpacked"):
            return os.pread(self._spool.fileno(), size, offset)

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        return blocks(self, start, stop)

    def close(self) -> None:
        self._spool.close()


def opened(path: Path, scratch: Path, run: Run) -> Readable:
    """The bytes of the archive at `path`.

    :param scratch: the folder on whose file system something may be unpacked.
    :raises NotFound: it is not there. :raises Corrupt: its compression is damaged. :raises DiskFull: there is no room.
    """
    plain = _Plain(path)
    head = plain.read(0, 4)
    kind = coding.coding_of(head)
    if kind == "gzip":
        return Framed.of(plain) or _unpacked(plain, path, scratch, run, coding.gunzipped)
    if kind == "zstd":
        return _unpacked(plain, path, scratch, run, coding.unzstd)
    return plain


def _unpacked(
    plain: _Plain, path: Path, scratch: Path, run: Run, unpack: Callable[[Iterator[bytes]], Iterator[bytes]]
) -> _Spooled:
    spool = Spool(scratch)
    try:
        room = free_bytes(scratch) - _RESERVE
        size, most = 0, coding.most(plain.size)
        for data in unpack(_pieces(plain, run)):
            size += len(data)
            if size > most:
                raise Corrupt(f"{path} unpacks to more than {most} bytes, which nothing honest does")
            if size > room:
                raise DiskFull(
                    f"{path} unpacks to more than the {max(room, 0)} bytes that are free",
                    hint="unpack it elsewhere first",
                )
            spool.write(data)
        if not spool.is_whole:
            raise DiskFull(f"{path} could not be unpacked into {scratch}")
    except BaseException:
        spool.close()
        raise
    finally:
        plain.close()
    return _Spooled(spool, size)


def _pieces(plain: _Plain, run: Run) -> Iterator[bytes]:
    at = 0
    while data := plain.read(at, _PIECE):
        run.check()
        at += len(data)
        yield data
