"""Locks on names that may go away again: held alone or shared, and let go of by the system when their process dies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from modelops_bundle.disk.problems import translated
from modelops_bundle.errors import Unsupported

Wait = Callable[[], None]
"""Called between two attempts; what it raises ends them."""


class Hold:
    """A lock that is held (flock(2)). Only advice: everybody who cares takes it first.

    :param descriptor: of its file, which is locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def share(self) -> None:
        """Let others share it from now on. Between the two somebody may have held it alone: look again."""
        _lock(self._descriptor, shared=True, wait=True)

    def release(self, *, remove: bool = False) -> None:
        """Let go.

        :param remove: of a lock that is held alone: its file goes as well. Those who wait take a new one.
        """
        if self._descriptor < 0:
            return
        if remove:
            with translated(f"remove {self._path}"):
                self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


def take(path: Path, *, shared: bool = False, wait: Wait | None = None) -> Hold | None:
    """The lock `path`; None when somebody has it and there is no `wait`.

    :raises Unsupported: the file system or platform has no locks. :raises DiskError: the file cannot be made.
    """
    while True:
        with translated(f"lock {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        taken = False
        try:
            taken = _lock(descriptor, shared=shared, wait=False) and _is_there(descriptor, path)
        finally:
            if not taken:
                os.close(descriptor)
        if taken:
            return Hold(path, descriptor)
        if wait is None:
            return None
        wait()


def _is_there(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one that the others find under its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor: int, *, shared: bool, wait: bool) -> bool:
    try:
        import fcntl  # noqa: PLC0415  (absent on Windows)
    except ImportError as error:
        raise Unsupported("this platform has no advisory file locks", hint="use Linux, macOS or WSL") from error
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise Unsupported(f"this file system has no locks ({error.strerror})") from error
    return True
