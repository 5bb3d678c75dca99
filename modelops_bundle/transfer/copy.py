"""Copying blobs into a store: push, and later mirror, import and export, are this one loop."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Reader, Store
from modelops_bundle.transfer import engine


@dataclass(slots=True)
class Copied:
    """What really moved: blobs and bytes sent, and blobs that were there already."""

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
    """The bytes of one blob, from the start each time they are asked for: what a retried upload needs."""

    def __init__(self, what: Descriptor, source: Reader, run: Run) -> None:
        self._what = what
        self._source = source
        self._run = run
        self.sent = False

    def __iter__(self) -> Iterator[bytes]:
        self.sent = True
        with self._source.open(self._what) as chunks:
            # Not verified here: a store believes no bytes it is given (`Writer.put`), and hashing them twice is dear.
            for chunk in chunks:
                self._run.check()
                yield chunk
                self._run.emit(Advanced(str(self._what.digest), len(chunk)))


def copy_blobs(
    wanted: Sequence[tuple[Descriptor, str]],
    source: Reader,
    destination: Store,
    run: Run,
    likely: Container[str] = (),
) -> Copied:
    """Bring `wanted` (blobs with a name for people) from `source` to `destination`, largest first.

    :param likely: digests that are probably there: asking first is cheaper then, and disturbs nobody who reads them.
    :raises Corrupt: the source does not hold what it says. :raises WorkspaceChanged: a file changed meanwhile.
    """
    copied = Copied()
    if wanted:
        run.emit(Started("upload", len(wanted), sum(what.size for what, _ in wanted)))

    def one(item: tuple[Descriptor, str]) -> None:
        what, name = item
        key = str(what.digest)
        run.emit(ItemStarted(key, name, what.size))
        content = Content(what, source, run)
        if not (key in likely and destination.has(what)):
            destination.put(what, content)
        copied.count(what.size if content.sent else None)
        run.emit(Finished(key, "copied" if content.sent else "exists"))

    engine.each(sorted(wanted, key=lambda item: -item[0].size), one, run)
    return copied
