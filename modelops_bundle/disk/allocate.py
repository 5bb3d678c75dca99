"""Large files in place: room reserved before the first byte, bytes at any position, durable at any time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from modelops_bundle.disk.filesystems import kind_of

_RESERVING = ("ext4", "xfs", "btrfs", "f2fs", "tmpfs", "overlay")
"""File systems with fallocate(2). Elsewhere the C library would imitate it by writing into every block, which on a
network file system sends the whole file once more (posix_fallocate(3), NOTES)."""
_CANNOT = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)

sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
"""fdatasync(2): the bytes of an open file and what is needed to find them again; fsync where there is none."""


def reserve(descriptor: int, size: int) -> None:
    """Give an empty open file the length `size`, its room on the disk reserved where the file system can do that.

    :param size: bytes.
    :raises OSError: ENOSPC among others; the file is empty then.
    """
    try:
        if hasattr(os, "posix_fallocate") and kind_of(os.fstat(descriptor).st_dev) in _RESERVING:
            try:
                os.posix_fallocate(descriptor, 0, size)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
        os.ftruncate(descriptor, size)
    except OSError:
        os.ftruncate(descriptor, 0)
        raise


def write_at(descriptor: int, data: bytes | memoryview, position: int) -> None:
    """Write all of `data` at `position`; plain pwrite may take only a part of it."""
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, position)
        view, position = view[count:], position + count
