"""The working tree as a `Reader`: content by digest, read from the paths a snapshot says hold it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from modelops_bundle.disk.chunks import FileChunks
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import NotFound, WorkspaceChanged
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import display
from modelops_bundle.model.ports import Chunks
from modelops_bundle.model.snapshot import Snapshot

_BLOCK = 1024 * 1024


class WorkTree:
    """Files of `snapshot` below `tree`, refused when their stat key is not the one their digest was taken under."""

    def __init__(self, tree: Tree, snapshot: Snapshot, keys: Mapping[str, tuple[int, ...]]) -> None:
        self._tree = tree
        self._keys = keys
        self._paths: dict[Digest, str] = {}
        for path, entry in snapshot.items():
            if entry.kind == "file":
                self._paths.setdefault(entry.digest, path)

    def has(self, what: Descriptor) -> bool:
        """Whether some path holds the content."""
        return what.digest in self._paths

    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> AbstractContextManager[Chunks]:
        """The bytes of the content, as `SendFile` where their digest was taken under a stat key that is known.

        :raises NotFound: no path holds it. :raises WorkspaceChanged: the file changed since it was hashed, or while
            it was read.
        """
        path = self._paths.get(what.digest)
        if path is None:
            raise NotFound(f"no file here has the content {what.digest}")
        return self.open_path(path, start, what.size if stop is None else stop)

    @contextmanager
    def open_path(self, path: str, start: int, stop: int) -> Iterator[Chunks]:
        """The bytes `start` to `stop` (exclusive) of the file `path`, whose digest need not be known yet.

        :raises WorkspaceChanged: the file is not in the state of its stat key, or left it while it was read.
        """
        descriptor = self._tree.open_read(path)
        try:
            self._check(path, descriptor)
            found = FileChunks(path, descriptor, start, stop, lambda: self._check(path, descriptor))
            yield found if path in self._keys else iter(found)
        finally:
            os.close(descriptor)

    def read(self, path: str, start: int, count: int) -> bytes:
        """`count` bytes of the file `path` from `start` on; fewer only at its end.

        :raises WorkspaceChanged: the file is not in the state of its stat key.
        """
        with self.open_path(path, start, start + count) as chunks:
            return b"".join(chunks)

    def keeping(self) -> AbstractContextManager[None]:
        """`Tree.keeping`, for reading many files."""
        return self._tree.keeping()

    def content(self, path: str) -> Chunks:
        """The bytes of the file at `path`, all of them.

        :raises WorkspaceChanged: it changed since it was hashed, or while it is read.
        """
        size = self._keys[path][0] if path in self._keys else None
        if size is not None and size <= _BLOCK:
            data, facts = self._tree.read_small(path, size)
            self._compare(path, facts)
            yield data
            return
        descriptor = self._tree.open_read(path)
        try:
            self._check(path, descriptor)
            size = os.fstat(descriptor).st_size
            yield from FileChunks(path, descriptor, 0, size, lambda: self._check(path, descriptor))
        finally:
            os.close(descriptor)

    def _check(self, path: str, descriptor: int) -> None:
        self._compare(path, os.fstat(descriptor))

    def _compare(self, path: str, facts: os.stat_result) -> None:
        known = self._keys.get(path)
        if known is not None and StatKey.of(facts) != tuple(known):
            raise WorkspaceChanged(
                f"{display(path)} changed since it was hashed", hint="run the command again", path=display(path)
            )
