"""Many small files at once: all written beside their places, made durable together, then renamed.

One fsync per file would cost more than everything else (facts: performance §1).
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from modelops_bundle.disk.exclusive import rename_new
from modelops_bundle.disk.files import temporary_name, write_all
from modelops_bundle.disk.problems import translate
from modelops_bundle.disk.sync import sync_file_system
from modelops_bundle.disk.tree import ABSENT, Guard, StatKey, Tree, put
from modelops_bundle.errors import BundleError, DiskError, WorkspaceChanged, WouldOverwrite
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
    """Files on their way into `tree`; those that did not get there are removed at the end.

    :param count: how many there will be, about.
    """

    def __init__(self, tree: Tree, count: int) -> None:
        self._tree = tree
        self._at_once = count <= FEW
        self._token = temporary_name()
        self._keeping = tree.keeping()
        self._written: list[_Written] = []
        self.refused: list[str] = []
        """Paths that something stands in the way of, or that changed just now; they are left as they are."""
        self.placed: dict[str, StatKey] = {}
        """The keys of the files that are in place, where they prove the content: nobody wrote to it meanwhile."""

    def __enter__(self) -> Self:
        self._keeping.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._written:
            with suppress(BundleError), self._tree.parent(one.path) as (parent, _name):
                os.unlink(one.temporary, dir_fd=parent)
        self._written.clear()
        self._keeping.__exit__(None, None, None)

    def write(self, path: str, data: bytes, *, executable: bool, guard: Guard | None) -> None:
        """Write the file for `path` beside it.

        :param guard: what must be at `path` when it gets its name.
        :raises DiskError: it cannot be written.
        """
        temporary = f"{self._token}{len(self._written)}"
        try:
            parent, _ = self._tree.at(path, create=True)
            key = self._write(temporary, parent, data, 0o777 if executable else 0o666)
        except (DiskError, WouldOverwrite) as error:
            self._refuse(path, error)
            return
        except OSError as error:
            self._refuse(path, translate(error, f"write {path}"))
            return
        self._written.append(_Written(path, temporary, guard, key))
        checkpoint("written beside")

    def _write(self, temporary: str, parent: int, data: bytes, mode: int) -> StatKey:
        out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=parent)
        try:
            write_all(out, data)
            if self._at_once:
                os.fsync(out)
            return StatKey.of(os.fstat(out))
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
        finally:
            os.close(out)

    def commit(self) -> None:
        """Make everything written durable, then let each file have its name.

        :raises DiskError: the disk refuses.
        """
        synced = self._at_once or self._sync_file_systems()
        checkpoint("batch synced")
        for one in self._written:
            try:
                self._rename(one, synced)
            except (DiskError, WouldOverwrite, WorkspaceChanged) as error:
                self._refuse(one.path, error)
            except OSError as error:
                self._refuse(one.path, translate(error, f"write {one.path}"))
        self._written.clear()

    def _sync_file_systems(self) -> bool:
        # A directory of the tree may be the root of another file system.
        devices = {one.key.device: one.path for one in self._written}
        for path in devices.values():
            try:
                with self._tree.parent(path) as (parent, _):
                    if not sync_file_system(parent):
                        return False
            except WouldOverwrite:
                return False
        return True

    def _rename(self, one: _Written, synced: bool) -> None:
        parent, name = self._tree.at(one.path, create=True)
        try:
            if not synced:
                _sync(parent, one.temporary)
            self._put(one, parent, name)
        except BaseException:
            with suppress(OSError):
                os.unlink(one.temporary, dir_fd=parent)
            raise
        checkpoint("placed")
        key = StatKey.of(os.stat(name, dir_fd=parent, follow_symlinks=False))
        if key.written == one.key.written:
            self.placed[one.path] = key

    def _put(self, one: _Written, parent: int, name: str) -> None:
        # One file is linked to its new name and unlinked; for many, one call each is worth loading what makes it.
        if one.guard is ABSENT and not self._at_once:
            with suppress(FileExistsError):
                if rename_new(parent, one.temporary, name):
                    return
        self._tree.check(parent, name, one.path, one.guard)
        put(one.temporary, parent, name, parent, one.guard)

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
