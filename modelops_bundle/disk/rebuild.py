"""A large file in a tree, written beside its place from bytes that are verified while they come."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from modelops_bundle.disk.allocate import reserve
from modelops_bundle.disk.files import temporary_name, write_all
from modelops_bundle.disk.tree import Guard, Tree, put
from modelops_bundle.events import checkpoint

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def write_beside(
    tree: Tree, path: str, chunks: Iterable[bytes], size: int, *, executable: bool, guard: Guard | None
) -> None:
    """Let `path` be a file of what `chunks` yields, durably; until `chunks` ended well, what is there stays.

    :param size: bytes of the file: its room is reserved first.
    :param guard: what must be at `path` when the file gets its name.
    :raises WorkspaceChanged: something else is there. :raises DiskFull: there is no room.
    :raises BundleError: whatever `chunks` raises.
    """
    with tree.parent(path, create=True) as (parent, name):
        temporary = temporary_name()
        out = os.open(temporary, _FLAGS, 0o600, dir_fd=parent)
        try:
            reserve(out, size)
            for chunk in chunks:
                write_all(out, chunk)
            os.fchmod(out, tree.mode(executable))
            os.fsync(out)
            checkpoint("written beside")
            tree.check(parent, name, path, guard)
            put(temporary, parent, name, parent, guard)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
        finally:
            os.close(out)
        os.fsync(parent)
        checkpoint("placed")


def names_in(tree: Tree, directory: str) -> list[str]:
    """The names in a directory of a tree, sorted; none when it is not there."""
    if tree.lstat(directory) is None:
        return []
    with tree.parent(f"{directory}/x") as (handle, _):
        return sorted(os.listdir(handle))
