"""Blobs that working trees of one user share: an OCI layout in the user's cache folder (DESIGN §5).

oci-layout index.json blobs/     versions that are complete, and blobs of others
parts/                           blobs on their way
locks/                           one per version that somebody brings or uses, and per blob on its way
uses/ references/                notes, see `stores.uses`
verified                         stat keys of blobs that were hashed
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelops_bundle.disk.files import remove_file, require_directory, sync_directory
from modelops_bundle.disk.holds import Hold, Wait, take
from modelops_bundle.disk.problems import translated
from modelops_bundle.errors import BundleError
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.stores import graph
from modelops_bundle.stores.layout import LayoutStore
from modelops_bundle.stores.uses import Uses

_READ_ONLY = 0o444
_ANY = "application/octet-stream"


class Cache:
    """Content by digest: believed only after hashing it again, and never needed.

    :param root: made at the first write.
    :param copies: keep content also where that takes the space of a copy, not only where blocks can be shared.
    """

    def __init__(self, root: Path, *, copies: bool = False) -> None:
        self._root = root
        self._copies = copies
        self.blobs = root / "blobs" / "sha256"
        self.parts = root / "parts"
        self.verified = root / "verified"
        self.uses = Uses(root)

    @property
    def layout(self) -> LayoutStore:
        """The cache as a store; unverified as all stores are."""
        return LayoutStore(self._root, create=True)

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

    # --- whole versions

    def hold(self, digest: Digest, *, shared: bool = False, wait: Wait | None = None) -> Hold | None:
        """The lock of a version or a blob: alone to bring or remove it, shared to use it; None when it is taken and
        there is no `wait`.
        """
        return take(self._root / "locks" / digest.hex, shared=shared, wait=wait)

    def has(self, what: Descriptor) -> bool:
        """Whether a blob of that size is here; nobody looked at its bytes."""
        try:
            return self.layout.has(what)
        except BundleError:
            return False

    def manifest(self, digest: Digest) -> Descriptor | None:
        """The manifest with its verified bytes, None when it is not here or damaged."""
        try:
            return self.layout.resolve(str(digest), data=True)
        except BundleError:
            return None

    def put_manifest(self, what: Descriptor, data: bytes) -> None:
        """Keep a manifest whose blobs may be still to come: whoever tidies up reads in it what they are."""
        if self.manifest(what.digest) is None:
            self.drop(what.digest)
        # As a plain blob: it is listed when all it needs is here.
        self.layout.put(Descriptor(_ANY, what.digest, len(data)), [data])

    def take(self, what: Descriptor, staged: Path) -> None:
        """Move the verified and synced file `staged`, on the file system of the cache, to its place."""
        require_directory(self.blobs)
        path = self.blobs / what.digest.hex
        with translated(f"keep {path}"):
            os.chmod(staged, _READ_ONLY)
            os.replace(staged, path)

    def drop(self, digest: Digest) -> None:
        """Remove a blob that is not what its name says. Those who have it open keep it."""
        remove_file(self.blobs / digest.hex)

    def complete(self, what: Descriptor, data: bytes) -> None:
        """List a version whose blobs are all here.

        :raises NotFound: some were removed meanwhile.
        """
        with translated(f"write {self.blobs}"):
            sync_directory(self.blobs)
        self.layout.put(Descriptor(what.media_type, what.digest, len(data)), [data])

    def needs(self, digest: Digest) -> set[Digest]:
        """What the manifest `digest` needs, and itself; only itself when it cannot be read."""
        found = {digest}
        with suppress(BundleError):
            what = self.manifest(digest)
            if what is not None and what.data is not None:
                found |= {part.digest for part in graph.needs(what.data)}
        return found

    def held(self) -> set[Digest]:
        """The versions and blobs that somebody brings or uses now, with all they need. Locks nobody has are removed."""
        found: set[Digest] = set()
        with suppress(OSError):
            for name in os.listdir(self._root / "locks"):
                if len(name) != 64:
                    continue
                digest = Digest("sha256", name)
                hold = self.hold(digest)
                if hold is None:
                    found |= self.needs(digest)
                else:
                    hold.release(remove=True)
        return found

    def versions(self) -> list[Descriptor]:
        """The versions that are listed as complete."""
        seen: dict[Digest, Descriptor] = {}
        for what in self.layout.manifests():
            if what.media_type in media.MANIFEST_TYPES:
                seen.setdefault(what.digest, what)
        return list(seen.values())
