"""Blobs that working trees of one user share: an OCI layout in the user's cache folder (DESIGN §5)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelops_bundle.disk.problems import translated
from modelops_bundle.errors import BundleError
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.stores.layout import LayoutStore


class Cache:
    """Content by digest: believed only after hashing it again, and never needed.

    :param root: made at the first write.
    :param copies: keep content also where that takes the space of a copy, not only where blocks can be shared.
    """

    def __init__(self, root: Path, *, copies: bool = False) -> None:
        self._root = root
        self._copies = copies

    @contextmanager
    def open(self, what: Descriptor) -> Iterator[int | None]:
        """A descriptor of the file that holds the content, None when it is not here."""
        descriptor = None
        try:
            descriptor = LayoutStore(self._root, create=True).open_file(what)
        except BundleError:
            # A cache that cannot be read is none.
            descriptor = None
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def keep(self, what: Descriptor, source: Path) -> None:
        """Remember the verified content of the file `source`, where that costs nothing or was asked for."""
        try:
            store = LayoutStore(self._root, create=True)
            with translated(f"read {source}"), open(source, "rb", buffering=0) as file:
                if not store.share(what, file.fileno()) and self._copies:
                    store.put(what, iter(lambda: file.read(1 << 20), b""))
        except BundleError:
            # Only the next pull is slower.
            return
