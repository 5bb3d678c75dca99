"""Many small files at once: all written beside their places, made durable together, then renamed.

One fsync per file would cost more than everything else (facts: performance §1).
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass

from modelops_bundle.disk.files import temporary_name, write_all
from modelops_bundle.disk.sync import sync_file_system
from modelops_bundle.disk.tree import Guard, StatKey, Tree, put
from modelops_bundle.errors import DiskError, WorkspaceChanged, WouldOverwrite
from modelops_bundle.events import checkpoint

FEW = 16
"""Files up to which each is synced by itself: a sync of the file system writes what others have left to write too."""
IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ELOOP)
"""Why a path cannot be written although nothing is broken: something else came to be there."""


@dataclass(frozen=True, slots=True)
class _Written:
    path: str
    temporary: str
    guard: Guard | None
    key: StatKey


class Batch:
    """Files on their way into `tree`.

    :param count: how many there will be, about.
    """

    def __init__(self, tree: Tree, count: int) -> None:
        self._tree = tree
        self._each = count <= FEW
        self._token = temporary_name()
        self._written: list[_Written] = []
        self.refused: list[str] = []
        """Paths that something stands in the way of, or that changed just now; they are left as they are."""
        self.placed: dict[str, StatKey] = {}
        """The keys of the files that are in place, where they prove the content: nobody wrote to it meanwhile."""

    def write(self, path: str, data: bytes, *, executable: bool, guard: Guard | None) -> None:
        """Write the file for `path` beside it.

        :param guard: what must be at `path` when it gets its name.
        :raises DiskError: it cannot be written.
        """
        temporary = f"{self._token}{len(self._written)}"
        try:
            with self._tree.parent(path, create=True) as (parent, _):
                out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
                try:
                    write_all(out, data)
                    os.fchmod(out, self._tree.mode(executable))
                    if self._each:
                        os.fsync(out)
                    key = StatKey.of(os.fstat(out))
                finally:
                    os.close(out)
        except (DiskError, WouldOverwrite) as error:
            self._refuse(path, error)
            return
        checkpoint("written beside")
        self._written.append(_Written(path, temporary, guard, key))

    def commit(self) -> None:
        """Make everything written durable, then let each file have its name.

        :raises DiskError: the disk refuses.
        """
        if not self._each and self._written:
            with self._tree.parent("x") as (root, _):
                self._each = not sync_file_system(root)
        checkpoint("batch synced")
        for one in self._written:
            try:
                self._rename(one)
            except (DiskError, WouldOverwrite, WorkspaceChanged) as error:
                self._refuse(one.path, error)
        self._written.clear()

    def _rename(self, one: _Written) -> None:
        with self._tree.parent(one.path, create=True) as (parent, name):
            try:
                self._tree.check(parent, name, one.path, one.guard)
                if self._each:
                    _sync(parent, one.temporary)
                put(one.temporary, parent, name, parent, one.guard)
            except BaseException:
                with suppress(OSError):
                    os.unlink(one.temporary, dir_fd=parent)
                raise
            checkpoint("placed")
            key = StatKey.of(os.stat(name, dir_fd=parent, follow_symlinks=False))
            if key.written == one.key.written:
                self.placed[one.path] = key

    def _refuse(self, path: str, error: DiskError | WouldOverwrite | WorkspaceChanged) -> None:
        if isinstance(error, DiskError) and error.facts.get("errno") not in IN_THE_WAY:
            raise error
        self.refused.append(path)


def _sync(parent: int, name: str) -> None:
    out = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.fsync(out)
    finally:
        os.close(out)
