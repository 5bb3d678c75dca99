"""What a reference stands for now: one request, more only for what this clone has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from modelops_bundle.errors import Corrupt, NotFound, Unsupported
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.ports import Store
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer.verify import read_small
from modelops_bundle.workspace.seen import Sighting

if TYPE_CHECKING:
    from modelops_bundle.model.artifact import Contents


@dataclass(frozen=True)
class Remote:
    """A manifest that a reference stands for. What it holds is parsed and checked when it is asked for."""

    reference: Reference
    sighting: Sighting
    shared: dict[Digest, Contents]
    parsed: Manifest | None = None
    expand: Callable[[], bytes | None] = lambda: None
    """Makes the inventory of a version of another tool that was seen, and never looked into."""

    @cached_property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return self.sighting.digest

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest; that of an index has the blobs of all its manifests that count here."""
        return self.parsed or manifest_of(Sighting(self.sighting.reference, self.sighting.manifest, self._kept))

    @cached_property
    def _kept(self) -> bytes | None:
        """The index, or the inventory, that is kept with the manifest."""
        return self.sighting.index or self.expand()

    @cached_property
    def contents(self) -> Contents:
        """What it holds.

        :raises Corrupt: the kept copy is damaged. :raises UnsafePath: a path that must not be created.
        """
        if self.digest not in self.shared:
            # What was seen before is not read again.
            from modelops_bundle.model import artifact, inventory

            kept = self._kept
            if inventory.is_one(kept) and kept is not None:
                self.shared[self.digest] = inventory.read(kept, self.digest).contents()
            else:
                self.shared[self.digest] = artifact.read(self.manifest, self._kept_index)
        return self.shared[self.digest]

    @property
    def index(self) -> bytes:
        """The index of a version of ours.

        :raises Corrupt: the kept copy is damaged, or there is none.
        """
        from modelops_bundle.model import artifact

        what = artifact.index_descriptor(self.manifest)
        inline = what.data
        return inline if inline is not None and Digest.of(inline) == what.digest else self._kept_index(what)

    def _kept_index(self, what: Descriptor) -> bytes:
        index = _part(self._kept or b"", self.manifest, what.digest)
        if index is not None:
            return index
        raise Corrupt("the kept index does not match its manifest", hint="bundle remote seen reads it again")


def manifest_of(sighting: Sighting) -> Manifest:
    """What was seen, as one manifest."""
    kept = sighting.index
    if kept is not None and kept.startswith(_FOREIGN):
        from modelops_bundle.model import inventory  # only versions of other tools have one

        return inventory.read(kept, sighting.digest).manifest(sighting.manifest)
    return Manifest.from_bytes(sighting.manifest)


_FOREIGN = b"inventory "


def key(reference: Reference) -> str:
    """The spelling under which sightings of `reference` are kept: the tag when it has one."""
    return str(reference.at(reference.tag)) if reference.tag else str(reference)


def resolve(session: Session, reference: Reference) -> Descriptor | None:
    """What the tag or digest stands for, None when absent. One request."""
    return session.store(reference).resolve(_name(reference))


def _name(reference: Reference) -> str:
    name = reference.name
    if name is None:
        raise NotFound(f"{reference} names neither tag nor digest")
    return name


def look_up(session: Session, reference: Reference) -> Remote | None:
    """What `reference` stands for and holds, None when it is absent.

    Known from an earlier sighting: one HEAD. Unknown: one GET, and one more for an index that is not inline.

    :raises Corrupt: bytes that do not match. :raises Unsupported: something that is no bundle.
    """
    fresh = session.fresh.pop(key(reference), None)
    if fresh is not None:
        return from_sighting(session, reference, fresh)
    sighting = session.seen.get(key(reference)) if session.has_project else None
    store = session.store(reference)
    if sighting is not None:
        current = store.resolve(_name(reference))
        if current is None:
            return None
        if current.digest == sighting.digest and _is_meant(session, sighting):
            return from_sighting(session, reference, sighting)
        found = store.resolve(str(current.digest), data=True)
        return _read_into(session, reference, found, store, _platform_of(sighting))
    found = store.resolve(_name(reference), data=True)
    return _read_into(session, reference, found, store)


def fetch(session: Session, reference: Reference) -> Remote | None:
    """Like `look_up`, without trusting what was kept from before."""
    store = session.store(reference)
    return _read_into(session, reference, store.resolve(_name(reference), data=True), store)


def _platform_of(sighting: Sighting) -> str | None:
    """For which platform an image index was read."""
    if sighting.index is None or not sighting.index.startswith(_FOREIGN):
        return None
    from modelops_bundle.model import inventory

    # What is damaged is read anew.
    with suppress(Corrupt):
        return inventory.read(sighting.index, sighting.digest).platform
    return None


def _read_into(
    session: Session, reference: Reference, found: Descriptor | None, store: Store, platform: str | None = None
) -> Remote | None:
    if found is None:
        return None
    remote = read(session, reference, found, store, platform)
    session.read[remote.digest] = remote.sighting
    return remote


def require(session: Session, reference: Reference) -> Remote:
    """Like `look_up`. :raises NotFound: `reference` is absent."""
    found = look_up(session, reference)
    if found is None:
        raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is", reference=str(reference))
    return found


def read(
    session: Session, reference: Reference, found: Descriptor, store: Store, platform: str | None = None
) -> Remote:
    """Parse and check the manifest that `found` carries, and bring its index.

    :param platform: what an image index is read for when the user names none; by default this machine's.
    """
    data = found.data
    if data is None or Digest.of(data) != found.digest:
        raise Corrupt(f"the manifest of {reference} does not match its digest")
    if reference.digest is not None and reference.digest != found.digest:
        raise Corrupt(f"asked for {reference.digest}, was given {found.digest}")
    manifest, index = _parse(session, store, found.media_type, data, platform)
    remote = Remote(reference, Sighting(key(reference), data, index), session.parsed, manifest)
    # Here and now: whatever is wrong with it is found before anything is done.
    _ = remote.contents
    return remote


def _parse(
    session: Session, store: Store, media_type: str, data: bytes, platform: str | None
) -> tuple[Manifest | None, bytes | None]:
    """The manifest in `data` where there is one, and what must be kept with it: its index, or an inventory."""
    from modelops_bundle.model import artifact, image_index

    if image_index.is_one(data, media_type):
        from modelops_bundle.operations import foreign

        return None, foreign.of_index(session, store, data, platform).to_bytes()
    manifest = Manifest.from_bytes(data, media_type)
    if artifact.is_ours(manifest):
        kept = [
            _known_index(session, what) or read_small(store, what, artifact.MAX_INDEX)
            for what in artifact.kept_indexes(manifest)
        ]
        return manifest, b"\n".join(kept) if kept else None
    from modelops_bundle.operations import foreign

    found = foreign.of_manifest(session, store, manifest)
    return manifest, None if found is None else found.to_bytes()


def _known_index(session: Session, what: Descriptor) -> bytes | None:
    """An index that this clone has kept with a version it saw: later versions take chunk lists from it."""
    for sighting in session.seen.all() if session.has_project else ():
        # One that another process replaces meanwhile is brought again.
        with suppress(Corrupt, Unsupported):
            if str(what.digest).encode() not in sighting.manifest:
                continue
            manifest = Manifest.from_bytes(sighting.manifest)
            inline = next((layer.data for layer in manifest.layers if layer.digest == what.digest and layer.data), None)
            found = inline or _part(sighting.index or b"", manifest, what.digest)
            if found is not None and Digest.of(found) == what.digest:
                return found
    return None


def _part(kept: bytes, manifest: Manifest, digest: Digest) -> bytes | None:
    """The index with this digest among those that were kept with one of our manifests, one behind the other.

    Told apart by the sizes that the manifest says: an index that others wrote may have line ends, and millions of them.
    """
    from modelops_bundle.model import artifact

    at = 0
    for what in artifact.kept_indexes(manifest):
        if what.digest == digest:
            found = kept[at : at + what.size]
            return found if Digest.of(found) == digest else None
        at += what.size + 1
    return None


def _is_meant(session: Session, sighting: Sighting) -> bool:
    """Whether what was kept of an image index is for the platform that is asked for, where one is."""
    wanted = session.options.platform
    return wanted is None or _platform_of(sighting) in (None, wanted)


def from_sighting(session: Session, reference: Reference, sighting: Sighting) -> Remote:
    """What was last seen, without asking anybody; its archives are read when it was seen and never looked into."""
    return Remote(reference, sighting, session.parsed, expand=lambda: _look_into(session, reference, sighting))


def _look_into(session: Session, reference: Reference, sighting: Sighting) -> bytes | None:
    data = sighting.manifest
    if media.VERSION.encode() in data:
        # Ours, as far as that goes: then its index is in it.
        return None
    from modelops_bundle.model import image_index
    from modelops_bundle.operations import foreign

    if image_index.is_one(data, None):
        made = foreign.of_index(session, session.store(reference), data)
    else:
        manifest = Manifest.from_bytes(data)
        found = (
            foreign.of_manifest(session, session.store(reference), manifest) if foreign.is_hidden(manifest) else None
        )
        if found is None:
            return None
        made = found
    whole = Sighting(sighting.reference, data, made.to_bytes())
    session.read[whole.digest] = whole
    return whole.index


def kept(session: Session, wanted: Callable[[Reference], bool]) -> Iterator[tuple[Reference, Manifest]]:
    """The versions this clone last saw at references that are `wanted`: what may save work.

    One that another process replaces meanwhile is left out.
    """
    for sighting in session.seen.all():
        reference = parse(sighting.reference)
        if wanted(reference):
            # An index that was never looked into names no blobs.
            with suppress(Corrupt, Unsupported):
                yield reference, manifest_of(sighting)


def blob_digests(manifest: Manifest) -> frozenset[str]:
    """Every blob the repository must hold for `manifest` to be there."""
    return frozenset(str(what.digest) for what in (manifest.config, *manifest.layers))
