"""Sending content whose digest is not known yet: it is hashed on its way, and cut into chunks, and read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from modelops_bundle.disk.hashing import Watcher
from modelops_bundle.errors import Corrupt
from modelops_bundle.events import Finished, ItemStarted, Run
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Store, Upload
from modelops_bundle.transfer.copy import Content

Source = Callable[[], AbstractContextManager[Chunks]]
"""Opens the content from its start, each time it is called: for a file `lambda: tree.open_path(path, 0, size)`."""


Watch = Callable[[], Watcher | None]
"""Who wants to see the content: called each time it is read from its start."""


class _Shown(Content):
    """Content that is shown to somebody by whoever hashes it (`Watched`)."""

    def __init__(self, key: str, source: Source, run: Run, watch: Watch | None) -> None:
        super().__init__(key, source, run)
        self._watch = watch
        self._watcher: Watcher | None = None

    def __iter__(self) -> Iterator[bytes]:
        seen = self.watcher()
        for chunk in super().__iter__():
            if seen is not None:
                seen(chunk)
            yield chunk

    def watcher(self) -> Callable[[bytes | memoryview], object] | None:
        self._watcher = self._watch() if self._watch is not None else None
        return self._watcher.feed if self._watcher is not None else None

    def finish(self, digest: Digest) -> None:
        """It is known now: nobody need see it again."""
        if self._watcher is not None:
            self._watcher.finish(digest)
        self._watch = self._watcher = None


def send_open(
    name: str, size: int, media_type: str, source: Source, destination: Store, run: Run, watch: Watch | None = None
) -> Descriptor:
    """Bring the content that `source` opens to `destination` and say what it is.

    Where a store must know the digest first, the content is hashed, then sent.

    :param name: unique within the run: what events call it.
    :param size: bytes.
    :param watch: who else wants to see it.
    :raises Corrupt: there are not `size` bytes. :raises WorkspaceChanged: the file changed meanwhile.
    """
    run.emit(ItemStarted(name, name, size))
    content = _Shown(name, source, run, watch)
    digest = destination.upload(name, size, content) if isinstance(destination, Upload) else None
    if digest is None:
        digest = _hash(name, size, source, run, content.watcher())
        content.finish(digest)
        destination.put(Descriptor(media_type, digest, size), content)
    content.finish(digest)
    run.emit(Finished(name, "copied" if content.sent else "exists"))
    return Descriptor(media_type, digest, size)


def _hash(
    name: str, size: int, source: Source, run: Run, seen: Callable[[bytes | memoryview], object] | None
) -> Digest:
    hasher, done = hashlib.sha256(), 0
    with source() as chunks:
        for chunk in chunks:
            run.check()
            hasher.update(chunk)
            if seen is not None:
                seen(chunk)
            done += len(chunk)
    if done != size:
        raise Corrupt(f"{name} has {done} bytes instead of {size}")
    return Digest("sha256", hasher.hexdigest())
