"""Renaming without replacing, and exchanging two names, in one call each (renameat2(2))."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import lru_cache

_NOREPLACE = 1
_EXCHANGE = 2
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)
"""EPERM is what filters of system calls answer."""


def rename_new(directory: int, source: str, name: str) -> bool:
    """Rename `source` to `name` in an open directory if nothing is called `name`; False where there is no such call.

    :raises FileExistsError: something is. :raises OSError: the system refuses.
    """
    return _renamed(directory, source, name, _NOREPLACE)


def exchange(directory: int, first: str, second: str) -> bool:
    """Let two entries of an open directory have each other's names, at once; False where there is no such call.

    :raises OSError: the system refuses.
    """
    return _renamed(directory, first, second, _EXCHANGE)


def _renamed(directory: int, source: str, name: str, flags: int) -> bool:
    call = _call()
    if call is None:
        return False
    number = call(directory, os.fsencode(source), os.fsencode(name), flags)
    if number in _CANNOT:
        return False
    if number:
        raise OSError(number, os.strerror(number), name)
    return True


@lru_cache(maxsize=1)
def _call() -> Callable[[int, bytes, bytes, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # noqa: PLC0415  (slow to import, and only worth it for many files)

    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None

    def call(directory: int, source: bytes, name: bytes, flags: int) -> int:
        done: int = function(directory, source, directory, name, flags)
        return ctypes.get_errno() if done else 0

    return call
