"""Chunks on their way into chunk packs: read, looked at, encoded side by side, and written in order.

What is under way at a time is bounded in bytes, so that memory does not grow with what is pushed.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from modelops_bundle.disk.chunks import FileChunks
from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import NotFound, Unsupported, WorkspaceChanged
from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, checkpoint
from modelops_bundle.formats import codec as codecs
from modelops_bundle.model import media
from modelops_bundle.model.chunkmap import CODECS, FIRST_XOR, ChunkList, ChunkMap, ChunkPack
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import display
from modelops_bundle.model.ports import Chunks
from modelops_bundle.transfer.chunks import Base, matches
from modelops_bundle.transfer.pack import Spooled

if TYPE_CHECKING:
    from concurrent.futures import Future

WINDOW = 24 * 1024 * 1024
"""Bytes of chunks that are read and not yet written."""

_BLOCK = 256 * 1024

Read = Callable[[str, int, int], bytes]
"""The bytes of the file at a path, from an offset on, as many as asked for."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """A chunk to be stored: where it is in the tree, its digest, the type of the numbers in it where that is known, and
    the chunk that a difference would be to.
    """

    path: str
    start: int
    size: int
    digest: bytes
    dtype: str | None = None
    base: tuple[int, int] | None = None


@dataclass(slots=True)
class _Open:
    """A pack that is being written."""

    spool: Spool | None
    hasher: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0
    sizes: array[int] = field(default_factory=lambda: array("I"))
    digests: bytearray = field(default_factory=bytearray)
    stored: array[int] = field(default_factory=lambda: array("I"))
    codecs: bytearray = field(default_factory=bytearray)
    bases: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, what: Fresh, codec: str, data: bytes) -> None:
        number = CODECS.index(codec)
        if number >= FIRST_XOR and what.base is not None:
            self.bases[len(self.sizes)] = what.base
        self.sizes.append(what.size)
        self.digests += what.digest
        self.stored.append(len(data))
        self.codecs.append(number)
        self.hasher.update(data)
        self.size += len(data)
        if self.spool is not None:
            self.spool.write(data)

    def sealed(self) -> ChunkPack:
        encoded = any(self.codecs)
        chunks = ChunkList(
            self.sizes,
            bytes(self.digests),
            self.stored if encoded else None,
            bytes(self.codecs) if encoded else None,
            self.bases,
        )
        digest = Digest("sha256", self.hasher.hexdigest())
        return ChunkPack(Descriptor(media.layer_type("doc"), digest, self.size), chunks)


def encode(
    todo: Iterable[Fresh],
    read: Read,
    base: Base,
    target: int,
    run: Run,
    spool: Callable[[], Spool | None] = lambda: None,
    taken: Callable[[ChunkPack], bool] = lambda _: False,
) -> Iterator[tuple[ChunkPack, Spool | None]]:
    """The packs of the chunks `todo`, each with a file that holds it where there is room for one.

    :param base: the bytes of a chunk that others are differences to.
    :param target: most bytes of a pack, but for a chunk that has more.
    :param taken: whether a blob stands for other chunks already: the same difference to something else is the same bytes.
        It has one list, so then its chunks are stored without differences.
    :raises WorkspaceChanged: a file changed since it was cut. :raises Unsupported: that does not help.
    """
    made, again = set[Digest](), list[Fresh]()
    for members, pack, kept in _packs(todo, read, base, target, run, spool):
        if pack.blob.digest not in made and not taken(pack):
            made.add(pack.blob.digest)
            yield pack, kept
        elif any(what.base is not None for what in members):
            again += [replace(what, base=None) for what in members]
        else:
            raise Unsupported(f"{pack.blob.digest} stands for other chunks already", hint="push --plain")
    if again:
        yield from encode(again, read, base, target, run, spool, lambda pack: pack.blob.digest in made or taken(pack))


def _packs(
    todo: Iterable[Fresh], read: Read, base: Base, target: int, run: Run, spool: Callable[[], Spool | None]
) -> Iterator[tuple[list[Fresh], ChunkPack, Spool | None]]:
    def one(what: Fresh) -> tuple[str, bytes]:
        run.check()
        raw = _read(what, read)
        codec, data = codecs.choose(raw, what.dtype, base(*what.base) if what.base is not None else None)
        return codec, _compact(data)

    into, members = None, list[Fresh]()
    number, key = 0, ""
    for what, (codec, data) in _in_order(todo, one):
        if into is not None and into.size + len(data) > target:
            run.emit(Finished(key, "copied"))
            yield members, into.sealed(), into.spool
            into = None
        if into is None:
            into, members, number = _Open(spool()), [], number + 1
            key = f"chunks {number}"
            run.emit(ItemStarted(key, f"{what.path} …", None))
        into.add(what, codec, data)
        members.append(what)
        checkpoint("chunk encoded")
        run.emit(Advanced(key, what.size))
    if into is not None:
        run.emit(Finished(key, "copied"))
        yield members, into.sealed(), into.spool


def _compact(data: bytes) -> bytes:
    """A copy. Compressors cut their result off a piece of memory as large as the chunk, and what is left of that lies
    about for as long as the result is kept.
    """
    return bytes(bytearray(data))


def _read(what: Fresh, read: Read) -> bytes:
    raw = read(what.path, what.start, what.size)
    if not matches(raw, what.digest):
        path = display(what.path)
        raise WorkspaceChanged(f"{path} changed since it was hashed", hint="run the command again", path=path)
    return raw


def _in_order(
    todo: Iterable[Fresh], work: Callable[[Fresh], tuple[str, bytes]]
) -> Iterator[tuple[Fresh, tuple[str, bytes]]]:
    """Each with its result, several under way at a time."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  only where something is encoded

    waiting: deque[tuple[Fresh, Future[tuple[str, bytes]]]] = deque()
    size = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        try:
            for what in todo:
                while waiting and size + what.size > WINDOW:
                    first, done = waiting.popleft()
                    size -= first.size
                    yield first, done.result()
                waiting.append((what, pool.submit(work, what)))
                size += what.size
            for first, done in waiting:
                yield first, done.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class ChunkPacks:
    """The new chunk packs of a version, as a `Reader` that makes them of the files of the tree.

    Older ones were made by whoever pushed them: the same chunks need not be the same bytes here (another zstd).

    :param fresh: those that are new. :param base: the bytes of a chunk that others are differences to.
    :param spooled: files that hold some of them whole.
    """

    def __init__(self, chunks: ChunkMap, fresh: Collection[Digest], read: Read, base: Base, spooled: Spooled) -> None:
        self._read, self._base, self._spooled = read, base, spooled
        self._packs: Mapping[Digest, ChunkPack] = {
            pack.blob.digest: pack for pack in chunks.packs if pack.blob.digest in fresh
        }
        self._sources = _sources(chunks, self._packs)

    def has(self, what: Descriptor) -> bool:
        """Whether it is one of them, and every chunk of it is in some file."""
        pack = self._packs.get(what.digest)
        if pack is None:
            return False
        return what.digest in self._spooled or len(self._sources[what.digest]) == len(pack.chunks)

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        """The bytes of a pack.

        :raises NotFound: it is none of them. :raises WorkspaceChanged: a file changed since it was cut.
        """
        end, file = what.size if stop is None else stop, self._spooled.get(what.digest)
        if file is not None:
            yield FileChunks("a chunk pack", file.fileno(), start, end, lambda: None)
        elif self.has(what):
            yield self._made(self._packs[what.digest], start, end)
        else:
            raise NotFound(f"no file here has all that was in {what.digest}")

    def _made(self, pack: ChunkPack, start: int, stop: int) -> Iterator[bytes]:
        chunks, sources = pack.chunks, self._sources[pack.blob.digest]
        offsets = chunks.offsets()
        wanted = [n for n in range(len(chunks)) if offsets[n + 1] > start and offsets[n] < stop]
        todo = [(n, Fresh(*sources[n], chunks.sizes[n], chunks.digest(n), base=chunks.bases.get(n))) for n in wanted]
        numbers = {what.digest: number for number, what in todo}

        def one(what: Fresh) -> tuple[str, bytes]:
            codec = CODECS[chunks.codec(numbers[what.digest])]
            other = self._base(*what.base) if what.base is not None else None
            return codec, _compact(codecs.encode(_read(what, self._read), codec, other))

        data = (stored for _, (_, stored) in _in_order((what for _, what in todo), one))
        at = offsets[wanted[0]] if wanted else 0
        for block in _blocks(data):
            yield block[max(0, start - at) : stop - at]
            at += len(block)


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Small pieces together: each that is handed on costs a call or more."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _sources(chunks: ChunkMap, wanted: Collection[Digest]) -> dict[Digest, dict[int, tuple[str, int]]]:
    """By pack, a file and an offset in it for each chunk."""
    found: dict[Digest, dict[int, tuple[str, int]]] = {digest: {} for digest in wanted}
    for path, recipe in chunks.files.items():
        for piece in recipe.pieces():
            digest = recipe.packs[piece.pack].blob.digest
            if digest in found:
                found[digest].setdefault(piece.number, (path, piece.start))
    return found


def sampled(todo: Sequence[Fresh], read: Read, base: Base, count: int = 16) -> float:
    """Which share of their size chunks take once they are stored, by the look of `count` of them.

    :raises WorkspaceChanged: a file changed since it was cut.
    """
    chosen = todo[:: max(1, len(todo) // count)][:count]
    raw = stored = 0
    for what in chosen:
        other = base(*what.base) if what.base is not None else None
        stored += len(codecs.choose(_read(what, read), what.dtype, other)[1])
        raw += what.size
    return stored / raw if raw else 1.0
