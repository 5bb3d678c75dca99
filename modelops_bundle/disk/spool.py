"""A file without a name: bytes that are needed again soon, and by nobody else."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from modelops_bundle.disk.files import require_directory, temporary_name, write_all
from modelops_bundle.disk.problems import translated


class Spool:
    """Goes with the process that made it, however that ends.

    :param folder: on whose file system it is; created.
    :raises DiskError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        require_directory(folder)
        path = folder / temporary_name()
        with translated(f"write to {folder}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
            self._descriptor = os.open(path, flags, 0o600)
            # Another command may have swept it just now.
            path.unlink(missing_ok=True)

    def fileno(self) -> int:
        """Its descriptor."""
        return self._descriptor

    @property
    def is_whole(self) -> bool:
        """Whether it took everything."""
        return self._descriptor >= 0

    def write(self, data: bytes) -> None:
        """Append `data`; one that cannot take it lets go of all: it only saves work."""
        if self.is_whole:
            try:
                write_all(self._descriptor, data)
            except OSError:
                self.close()

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        with suppress(OSError):
            self.close()
