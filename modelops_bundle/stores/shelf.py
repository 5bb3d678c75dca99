"""Inventories in the user's cache: of versions that were looked at and not pulled, so that the next look reads no archive."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from modelops_bundle.disk.files import read_file, remove_file, write_file
from modelops_bundle.errors import BundleError, DiskError
from modelops_bundle.model import inventory
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.inventory import Inventory

MOST = 64
"""Inventories that are kept: the last ones."""
LARGEST = 16 << 20
"""Bytes of one that is worth its room."""


class Shelf:
    """A folder of them; None keeps nothing. It only saves work: what cannot be read or written is as if it was not there."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def _path(self, of: Digest, platform: str) -> Path | None:
        name = f"{of.hex}-{platform.replace('/', '-')}" if platform else of.hex
        return None if self._folder is None else self._folder / name

    def get(self, of: Digest, platform: str = "") -> Inventory | None:
        """The inventory of a version, as it was read for `platform`; None when it is not there or damaged."""
        path = self._path(of, platform)
        with suppress(BundleError, KeyError, TypeError, ValueError, IndexError):
            data = None if path is None else read_file(path)
            return inventory.read(data, of) if data is not None and inventory.is_one(data) else None
        return None

    def put(self, made: Inventory, platform: str = "") -> Inventory:
        """Keep `made`, and give it back."""
        path = self._path(made.of, platform)
        data = made.to_bytes() if path is not None else b""
        if path is not None and len(data) <= LARGEST:
            with suppress(DiskError):
                write_file(path, data)
                self._tidy(path.parent)
        return made

    @staticmethod
    def _tidy(folder: Path) -> None:
        with suppress(OSError):
            found = sorted(os.scandir(folder), key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
            for entry in found[MOST:]:
                remove_file(Path(entry.path))
