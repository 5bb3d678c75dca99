"""Copies that share their blocks with the original until one of them changes (ioctl_ficlone(2))."""

from __future__ import annotations

import errno
import sys

_FICLONE = 0x40049409
_CANNOT = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ETXTBSY)


def reflink(source: int, out: int) -> bool:
    """Let the open file `out` have the content of the open file `source`; False where the file system cannot share.

    :raises OSError: it can, and failed.
    """
    if not sys.platform.startswith("linux"):
        return False
    import fcntl  # noqa: PLC0415  (absent on Windows)

    try:
        fcntl.ioctl(out, _FICLONE, source)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True
