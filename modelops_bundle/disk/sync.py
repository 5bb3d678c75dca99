"""Making many changes durable at once."""

from __future__ import annotations

import os
import sys

from modelops_bundle.disk.problems import translated


def sync_file_system(descriptor: int) -> bool:
    """Write everything of the file system of an open file to its disk, as syncfs(2); False where there is no such call.

    :raises DiskError: the system could not.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415  (slow to import, and only needed for many files)

    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        return False
    with translated("write to the disk"):
        if call(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    return True
