"""Operating system errors in our words. Only `disk` translates them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from modelops_bundle.errors import DiskError, DiskFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def translate(error: OSError, what: str) -> DiskError:
    """The error of ours for `error`, which happened while doing `what`."""
    reason = (error.strerror or type(error).__name__).lower()
    if error.errno in _FULL:
        return DiskFull(
            f"cannot {what}: {reason}", hint="free some space and run the same command again", errno=error.errno
        )
    return DiskError(f"cannot {what}: {reason}", errno=error.errno)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise `DiskError` or `DiskFull` for any OSError inside."""
    try:
        yield
    except OSError as error:
        raise translate(error, what) from error
