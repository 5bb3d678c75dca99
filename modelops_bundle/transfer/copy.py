"""Copying blobs into a store: push, and later mirror, import and export, are this one loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks, Mounter, Piece, Reader, SendFile, Store
from modelops_bundle.transfer import engine

AnyPiece = TypeVar("AnyPiece", bytes, Piece)


@dataclass(slots=True)
class Copied:
    """What really moved: blobs and bytes sent, and blobs that were there already or taken from another repository."""

    blobs: int = 0
    size: int = 0
    existing: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, size: int | None) -> None:
        """Note one blob: its size when it was sent, None when it was there."""
        with self._lock:
            if size is None:
                self.existing += 1
            else:
                self.blobs += 1
                self.size += size


class Content:
    """The bytes of one blob (`Openable`), from the start each time they are asked for: what a retried upload needs.

    Not verified here: a store believes no bytes it is given (`Writer.put`), and hashing them twice is dear.

    :param key: names the blob in events.
    :param source: opens it.
    """

    def __init__(self, key: str, source: Callable[[], AbstractContextManager[Chunks]], run: Run) -> None:
        self._key = key
        self._source = source
        self._run = run
        self.sent = False

    def __iter__(self) -> Iterator[bytes]:
        with self._source() as chunks:
            yield from self.told(chunks)

    @contextmanager
    def open(self) -> Iterator[Chunks]:
        """The bytes, as parts of their file where the source offers them so."""
        with self._source() as chunks:
            yield _InFile(self, chunks, chunks) if isinstance(chunks, SendFile) else self.told(chunks)

    def told(self, pieces: Iterable[AnyPiece]) -> Iterator[AnyPiece]:
        """`pieces`, each followed by its event."""
        self.sent = True
        for piece in pieces:
            self._run.check()
            yield piece
            self._run.emit(Advanced(self._key, len(piece)))


class _InFile:
    """Chunks of a file (`SendFile`), with their events."""

    def __init__(self, content: Content, chunks: Iterator[bytes], file: SendFile) -> None:
        self._told = content.told
        self._chunks = content.told(chunks)
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def __next__(self) -> bytes:
        return next(self._chunks)

    def spans(self, start: int = 0) -> Iterator[Piece]:
        return self._told(self._file.spans(start))


def copy_blobs(
    wanted: Sequence[tuple[Descriptor, str]],
    source: Reader,
    destination: Store,
    run: Run,
    likely: Container[str] = (),
    mounts: Mapping[str, Sequence[str]] | None = None,
) -> Copied:
    """Bring `wanted` (blobs with a name for people) from `source` to `destination`, largest first.

    :param likely: digests that are probably there: asking first is cheaper then, and disturbs nobody who reads them.
    :param mounts: by digest, other repositories of the same registry that are known to hold the blob.
    :raises Corrupt: the source does not hold what it says. :raises WorkspaceChanged: a file changed meanwhile.
    """
    copied = Copied()
    if wanted:
        run.emit(Started("upload", len(wanted), sum(what.size for what, _ in wanted)))

    def one(item: tuple[Descriptor, str]) -> None:
        what, name = item
        key = str(what.digest)
        run.emit(ItemStarted(key, name, what.size))
        content = Content(key, lambda: source.open(what), run)
        mounted = False
        if not (key in likely and destination.has(what)):
            mounted = _put(destination, what, content, (mounts or {}).get(key, ()))
        copied.count(what.size if content.sent else None)
        run.emit(Finished(key, "copied" if content.sent else "mounted" if mounted else "exists"))

    engine.each(sorted(wanted, key=lambda item: -item[0].size), one, run)
    return copied


def _put(destination: Store, what: Descriptor, content: Content, repositories: Sequence[str]) -> bool:
    """Put one blob; True when it was taken from another repository instead."""
    if repositories and isinstance(destination, Mounter):
        return destination.mount(what, content, repositories)
    destination.put(what, content)
    return False
