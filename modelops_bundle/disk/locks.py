"""Advisory locks that die with their process (flock), so none is ever stale."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelops_bundle.disk.problems import translated
from modelops_bundle.errors import Locked, Unsupported

POLL = 0.02
"""Seconds between two looks at a taken lock."""


@contextmanager
def exclusive(path: Path, *, wait: float = 30.0, what: str = "this directory") -> Iterator[None]:
    """Hold the lock file `path` alone.

    :param wait: seconds to wait for another holder.
    :raises Locked: still taken after `wait`. :raises Unsupported: the file system or platform has no locks.
    """
    try:
        import fcntl  # noqa: PLC0415  (absent on Windows)
    except ImportError as error:
        raise Unsupported("this platform has no advisory file locks", hint="use Linux, macOS or WSL") from error
    with translated(f"lock {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        deadline = time.monotonic() + wait
        while not _try(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if time.monotonic() >= deadline:
                raise Locked(
                    f"another process is writing to {what}", hint="wait for it to end, then run the command again"
                )
            time.sleep(POLL)
        yield
    finally:
        os.close(descriptor)


def _try(flock: object, descriptor: int, operation: int) -> bool:
    try:
        flock(descriptor, operation)  # type: ignore[operator]
    except BlockingIOError:
        return False
    except OSError as error:
        raise Unsupported(f"this file system has no locks ({error.strerror})") from error
    return True


def hold(descriptor: int, what: str) -> None:
    """Lock an open file until it is closed; where there are no locks this does nothing.

    :param what: what it stands for, for people.
    :raises Locked: somebody else has it.
    """
    try:
        import fcntl  # noqa: PLC0415  (absent on Windows)

        taken = _try(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, Unsupported):
        return
    if not taken:
        raise Locked(f"another process is writing to {what}", hint="wait for it to end, then run the command again")
