"""Bringing files out of packs: a whole pack where most of it is wanted, else the ranges that hold them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Self

from modelops_bundle.disk.files import require_directory, staged
from modelops_bundle.disk.problems import translate, translated
from modelops_bundle.events import Run
from modelops_bundle.formats import coding
from modelops_bundle.model import packs
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Reader
from modelops_bundle.transfer import chunks as chunks_of
from modelops_bundle.transfer.staging import Staging
from modelops_bundle.transfer.verify import mismatch, verified

SMALL_PACK = 256 * 1024
"""Bytes of a pack that one request brings as fast as a part of it."""
GAP = 64 * 1024
"""Bytes that are cheaper received for nothing than left out by another request."""
IN_MEMORY = 1024 * 1024
"""Bytes up to which a file goes from its pack right into the tree; larger ones are staged by themselves."""
_BLOCK = 1024 * 1024
_SPAN = 8 * 1024 * 1024
_MOST_OPEN = 8
"""Packs held open: files in path order are in one or two at a time."""
_ANY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a pack: its digest and size in bytes, and where in the pack's tar it begins.

    `archive` says that the pack is an archive of another tool.
    """

    digest: Digest
    size: int
    offset: int
    archive: bool = False

    @property
    def content(self) -> Descriptor:
        """The file's content."""
        return Descriptor(_ANY, self.digest, self.size)

    @property
    def raw(self) -> tuple[int, int]:
        """The bytes of the pack that hold it: start, and stop (exclusive)."""
        start = packs.position(self.offset)
        return start, packs.position(self.offset + self.size - 1) + 1 if self.size else start


def wants_whole(pack: Descriptor, members: Iterable[Member]) -> bool:
    """Whether to bring the whole pack for `members`: a range leaves out what lies between files, their headers too."""
    return pack.size <= SMALL_PACK or 2 * sum(packs.room(member.size) for member in members) >= pack.size


def fetch_members(
    pack: Descriptor,
    members: Sequence[Member],
    store: Reader,
    staging: Staging,
    run: Run,
    progress: Callable[[int], None],
) -> int:
    """Stage `members` one by one, receiving little else of the pack.

    :returns: the number of bytes that were transferred.
    :raises Corrupt: the pack holds other bytes there.
    """
    received = 0
    for member in members:
        if not member.size:
            _stage(member, (), staging, run)
    for span in _spans([member for member in members if member.size]):
        start, stop = span[0].raw[0], max(member.raw[1] for member in span)
        received += stop - start
        with store.open(pack, start, stop) as chunks:
            if len(span) == 1:
                _stage(span[0], _counted(chunks, progress), staging, run)
            else:
                data = memoryview(b"".join(_counted(chunks, progress)))
                for member in span:
                    first, last = member.raw
                    _stage(member, [bytes(data[first - start : last - start])], staging, run)
    return received


def reading(
    store: Reader, place: Place, size: int, start: int = 0, stop: int | None = None
) -> AbstractContextManager[Chunks]:
    """The unverified bytes `start` to `stop` of a file of `size` bytes, wherever it is stored."""
    start, stop = min(start, size), size if stop is None else min(stop, size)
    if place.blob is None:
        assert place.recipe is not None
        return chunks_of.reading(store, place.recipe, start, max(start, stop))
    if place.offset is None:
        return store.open(place.blob) if (start, stop) == (0, size) else store.open(place.blob, start, stop)
    read = _from_archive if place.archive else _from_pack
    return read(store, place.blob, place.offset + start, place.offset + max(start, stop))


@contextmanager
def _from_pack(store: Reader, pack: Descriptor, start: int, stop: int) -> Iterator[Chunks]:
    if start == stop:
        yield iter(())
        return
    with store.open(pack, packs.position(start), packs.position(stop - 1) + 1) as chunks:
        yield packs.unframed(chunks, start, stop)


@contextmanager
def _from_archive(store: Reader, archive: Descriptor, start: int, stop: int) -> Iterator[Chunks]:
    with store.open(archive) as chunks:
        stream = coding.Stream(coding.decoded(chunks))
        stream.skip(start)
        yield (bytes(piece) for piece in stream.pieces(stop - start))


def _counted(chunks: Iterable[bytes], progress: Callable[[int], None]) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        progress(len(chunk))


def _spans(members: Sequence[Member]) -> Iterator[list[Member]]:
    """Members that one request brings: near each other, and small enough together to be held in memory."""
    span: list[Member] = []
    start = stop = 0
    for member in sorted(members, key=lambda member: member.offset):
        first, last = member.raw
        if span and (first - stop > GAP or max(stop, last) - start > _SPAN):
            yield span
            span = []
        start, stop = (start, max(stop, last)) if span else (first, last)
        span.append(member)
    if span:
        yield span


def _stage(member: Member, raw: Iterable[bytes], staging: Staging, run: Run) -> None:
    _stage_bytes(member, packs.unframed(raw, member.offset, member.offset + member.size), staging, run)


def _stage_bytes(member: Member, content: Iterable[bytes], staging: Staging, run: Run) -> None:
    path = staging.path(member.digest)
    require_directory(path.parent)
    with staged(path) as out:
        for chunk in verified(member.content, content):
            run.check()
            out.write(chunk)
        out.commit(directory=False)


def take_out(pack: Descriptor, members: Sequence[Member], staging: Staging, run: Run) -> None:
    """Look that the staged pack holds `members`, and take the large ones out, each into a staged file of its own.

    The digest of a pack says nothing of its members: that its index tells the truth is found here, before anything is
    written into the tree.

    :raises Corrupt: the pack holds other bytes there.
    """
    with Staged(staging, {member.digest: (pack.digest, member.offset) for member in members}) as staged_pack:
        for member in members:
            run.check()
            if member.size <= IN_MEMORY:
                if staged_pack.read(member.digest, member.size) is None:
                    raise mismatch(member.content, f"{pack.digest} has other bytes at offset {member.offset}")
            elif not staging.has(member.content):
                with translated("read a pack"), open(staging.path(pack.digest), "rb", buffering=0) as source:
                    source.seek(member.raw[0])
                    _stage(member, iter(lambda: source.read(_BLOCK), b""), staging, run)


def take_out_of_archive(archive: Descriptor, members: Sequence[Member], staging: Staging, run: Run) -> None:
    """Take `members` out of the staged `archive` of another tool, each into a staged file of its own.

    In one go from the beginning: nothing tells where in compressed bytes a file begins.

    :raises Corrupt: the archive holds other bytes there, or cannot be unpacked.
    """
    with translated("read an archive"), open(staging.path(archive.digest), "rb", buffering=0) as source:
        wanted = [member for member in members if not staging.has(member.content)]
        for member, content in members_in(iter(lambda: source.read(_BLOCK), b""), wanted):
            run.check()
            _stage_bytes(member, content, staging, run)


def members_in(archive: Iterable[bytes], members: Iterable[Member]) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Each of `members` with its unverified bytes, in one reading of the archive of another tool.

    The bytes of one are to be taken before the next one is asked for.

    :raises Corrupt: the archive cannot be unpacked.
    """
    stream = coding.Stream(coding.decoded(archive))
    for member in sorted(members, key=lambda member: member.offset):
        # Two members in one place would need bytes that are gone: then too few come, which is no content of either.
        stream.skip(max(0, member.offset - stream.at))
        yield member, (bytes(piece) for piece in stream.pieces(member.size))


def others(chunks: Iterable[bytes], members: Iterable[Member]) -> list[Member]:
    """Those of `members` that a pack, or an archive of another tool, does not hold where they are said to be.

    :param chunks: its bytes from the first on; they are read to their end.
    :raises Corrupt: they cannot be unpacked.
    """
    chunks = iter(chunks)
    waiting = sorted((member for member in members if member.size), key=lambda member: -member.offset)
    found: list[Member] = []
    hasher, at = None, 0
    for piece in _tar_of(chunks, waiting):
        view, base, at = memoryview(piece), at, at + len(piece)
        while waiting and waiting[-1].offset < at:
            member = waiting[-1]
            stop = member.offset + member.size
            if hasher is None and member.offset < base:
                # Within the one before: only an index that lies says so.
                found.append(waiting.pop())
                continue
            hasher = hasher or hashlib.sha256()
            hasher.update(view[max(member.offset - base, 0) : stop - base])
            if stop > at:
                break
            if hasher.hexdigest() != member.digest.hex:
                found.append(member)
            waiting.pop()
            hasher = None
    for _ in chunks:
        pass
    return found + waiting


def _tar_of(chunks: Iterator[bytes], members: Sequence[Member]) -> Iterator[bytes]:
    """The tar of a pack, damaged or not, or that of another tool's archive; nothing where nobody asks for a member."""
    if any(member.archive for member in members):
        return coding.decoded(chunks)
    return packs.unframed(_without(chunks, packs.position(0)), 0, 1 << 62) if members else iter(())


def _without(chunks: Iterable[bytes], count: int) -> Iterator[bytes]:
    for chunk in chunks:
        taken = min(count, len(chunk))
        count -= taken
        if taken < len(chunk):
            yield chunk[taken:]


class Staged:
    """Staged packs as a source of small files, the last few held open."""

    def __init__(self, staging: Staging, members: Mapping[Digest, tuple[Digest, int]]) -> None:
        """`members`: by digest of the file, the digest of its pack and its offset in the pack's tar."""
        self._staging = staging
        self._members = members
        self._open: dict[Digest, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _descriptor(self, pack: Digest) -> int:
        if pack not in self._open:
            if len(self._open) >= _MOST_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[pack] = os.open(self._staging.path(pack), os.O_RDONLY | os.O_CLOEXEC)
        return self._open[pack]

    def has(self, digest: Digest) -> bool:
        """Whether the file is in one of the packs."""
        return digest in self._members

    def read(self, digest: Digest, size: int, *, verify: bool = True) -> bytes | None:
        """The bytes of a small file; None when its pack is gone or damaged, or the file is not small.

        :param verify: False after `take_out` looked at the file.

        :raises DiskError: the pack cannot be read.
        """
        if size > IN_MEMORY:
            return None
        pack, offset = self._members[digest]
        first = packs.position(offset)
        stop = packs.position(offset + size - 1) + 1 if size else first
        try:
            data = os.pread(self._descriptor(pack), stop - first, first)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translate(error, "read a pack") from error
        if stop - first != size:
            data = b"".join(packs.unframed([data], offset, offset + size))
        right = len(data) == size and (not verify or hashlib.sha256(data).hexdigest() == digest.hex)
        return data if right else None
