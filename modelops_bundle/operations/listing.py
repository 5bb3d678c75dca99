"""ls, tags, inspect, cat: looking without pulling."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from modelops_bundle.errors import BundleError, Corrupt, NotFound, UnsafePath, Unsupported
from modelops_bundle.model import artifact, foreign, image_index, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.paths import display
from modelops_bundle.model.ports import Chunks, Lister, Reader
from modelops_bundle.model.reference import Reference, is_service_tag
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.local_state import local
from modelops_bundle.operations.session import Session
from modelops_bundle.operations.storage import Storage, content_layers, mode_of, path_of, storage_of, stored_size
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.unpack import reading
from modelops_bundle.transfer.verify import read_small, verified


@dataclass(frozen=True, slots=True)
class Listing:
    """Paths, and for a version of ours how it is stored."""

    snapshot: Snapshot
    storage: Storage | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "files": self.snapshot.to_json(),
            "size": self.snapshot.size,
            "content": str(self.snapshot.content),
            "storage": self.storage.to_json() if self.storage is not None else None,
        }


def ls(session: Session, text: str | None) -> Listing:
    """What a version holds, or without `text` the tracked files on disk."""
    if text is None:
        return Listing(local(session, strict=False).here)
    remote = remote_state.require(session, session.reference(text))
    return Listing(remote.contents.snapshot, _storage(remote))


def _storage(remote: remote_state.Remote) -> Storage | None:
    # One that says how it is stored says so in its own manifest.
    if image_index.is_one(remote.sighting.manifest, None):
        return None
    return storage_of(remote.contents, Manifest.from_bytes(remote.sighting.manifest))


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag: what it stands for; what only an index tells that is not in the manifest is None.

    :param size: bytes of the files; of what is no bundle, of its layers. :param stored: bytes of the blobs that it needs.
    :param storage: how a bundle is stored: ``plain``, ``delta`` or ``image``.
    """

    name: str
    digest: Digest
    size: int | None
    files: int | None
    created: str | None
    kind: str
    stored: int | None = None
    storage: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "tag": self.name,
            "digest": str(self.digest),
            "size": self.size,
            "stored": self.stored,
            "files": self.files,
            "created": self.created,
            "kind": self.kind,
            "storage": self.storage,
        }


def tag_names(session: Session, text: str | None, *, service: bool = False) -> tuple[Reference, list[str]]:
    """The names of the tags of a repository, sorted: one request for each page of them.

    :param service: show the tags that tools keep for themselves as well.
    :raises Unsupported: the store cannot list.
    """
    reference = session.reference(text)
    store = session.store(reference)
    if not isinstance(store, Lister):
        raise Unsupported(f"{reference.place} cannot list its tags")
    return reference.at(), [name for name in store.tags() if service or not is_service_tag(name)]


def tags(session: Session, text: str | None, *, service: bool = False) -> tuple[Reference, list[Tag]]:
    """The tags of a repository: one request for the list and one for each tag, one more where that is in delta storage.

    :param service: show the tags that tools keep for themselves as well.
    :raises Unsupported: the store cannot list.
    """
    reference, names = tag_names(session, text, service=service)
    store = session.store(reference)
    found: dict[str, Tag] = {}
    lock = threading.Lock()

    def one(name: str) -> None:
        what = store.resolve(name, data=True)
        if what is not None:
            tag = _describe(name, what, store)
            with lock:
                found[name] = tag

    engine.each(names, one, session.run)
    return reference, [found[name] for name in sorted(found)]


def _describe(name: str, what: Descriptor, store: Reader) -> Tag:
    try:
        manifest = Manifest.from_bytes(what.data or b"", what.media_type)
    except BundleError:
        return Tag(name, what.digest, None, None, None, what.media_type)
    layers = content_layers(manifest)
    mode, files = mode_of(manifest), _files(manifest, layers)
    size: int | None = sum(layer.size for layer in layers)
    if mode == "delta":
        # What its layers have says nothing of it: packs of other versions, and pointers.
        size = _tree_size(manifest, store)
    created = manifest.annotations.get(media.CREATED)
    return Tag(name, what.digest, size, files, created, _kind(manifest), stored_size(manifest), mode)


def _tree_size(manifest: Manifest, store: Reader) -> int | None:
    """Bytes of the files of a bundle, by its index; None where that is large or nobody can read it."""
    try:
        index = read_small(store, artifact.index_descriptor(manifest), _SMALL_INDEX)
        return artifact.snapshot_of(index).size
    except (Corrupt, NotFound, UnsafePath, Unsupported):
        return None


_SMALL_INDEX = 1024 * 1024
"""Bytes of an index that is brought for the size of a tag."""


def _files(manifest: Manifest, layers: Sequence[Descriptor]) -> int | None:
    """How many files there are, as far as the manifest itself tells it: packs hold many, and large indexes are apart."""
    if not artifact.is_ours(manifest):
        return _named(manifest)
    # Chunk packs hold no files of their own: at the path of each is a layer that stands for it.
    if any(path_of(layer).endswith(_TAR) for layer in layers if _is_pack(layer)):
        held = _inline(manifest)
        return sum(1 for entry in held.values() if entry.kind == "file") if held is not None else None
    return sum(1 for layer in layers if not _is_pack(layer))


_TAR = ".tar.gz"


def _is_pack(layer: Descriptor) -> bool:
    return path_of(layer).startswith(artifact.PACKS_PATH)


def _inline(manifest: Manifest) -> Snapshot | None:
    """What a bundle holds whose index is in its manifest; None for others."""
    try:
        return artifact.read(manifest, _not_fetched).snapshot
    except BundleError:
        return None


def _named(manifest: Manifest) -> int | None:
    """How many files an artifact of another tool names; None where only its archives or its config tell."""
    try:
        found = () if foreign.needs_config(manifest) else foreign.pieces(manifest)
    except BundleError:
        return None
    return len(found) if found and not any(piece.archive for piece in found) else None


def _not_fetched(what: Descriptor) -> bytes:
    raise NotFound(f"{what.digest} is not in the manifest")


def _kind(manifest: Manifest) -> str:
    """What sort of artifact it is: ours, or what its maker calls it."""
    return "bundle" if artifact.is_ours(manifest) else manifest.artifact_type or manifest.config.media_type


@dataclass(frozen=True, slots=True)
class Inspection:
    """A manifest, and what it holds when we can read it."""

    reference: str
    digest: Digest
    manifest: bytes
    media_type: str
    annotations: dict[str, str]
    kind: str
    contents: Snapshot | None
    why_unread: str | None
    storage: Storage | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "reference": self.reference,
            "digest": str(self.digest),
            "media_type": self.media_type,
            "kind": self.kind,
            "annotations": self.annotations,
            "size": self.contents.size if self.contents is not None else None,
            "content": str(self.contents.content) if self.contents is not None else None,
            "files": self.contents.to_json() if self.contents is not None else None,
            "why_unread": self.why_unread,
            "storage": self.storage.to_json() if self.storage is not None else None,
        }


def inspect(session: Session, text: str | None) -> Inspection:
    """Read one manifest. :raises NotFound: the reference is absent."""
    reference = session.reference(text)
    store = session.store(reference)
    found = store.resolve(reference.name or "", data=True)
    if found is None or found.data is None:
        raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is", reference=str(reference))
    annotations: dict[str, str] = {}
    kind, contents, why, storage = found.media_type, None, None, None
    try:
        if not image_index.is_one(found.data, found.media_type):
            manifest = Manifest.from_bytes(found.data, found.media_type)
            annotations = dict(manifest.annotations)
            kind = _kind(manifest)
        remote = remote_state.read(session, reference, found, store)
        contents, storage = remote.contents.snapshot, _storage(remote)
    except Unsupported as error:
        why = error.message
    return Inspection(
        str(reference), found.digest, found.data, found.media_type, annotations, kind, contents, why, storage
    )


@contextmanager
def cat(session: Session, text: str, path: str, part: tuple[int, int | None] | None = None) -> Iterator[Chunks]:
    """The verified bytes of one file of a version; the last chunk is followed by an error when they are wrong.

    :param part: only the bytes from the first to before the second, which nothing can verify.
    :raises NotFound: no such version, or no such file in it.
    """
    reference = session.reference(text)
    remote = remote_state.require(session, reference)
    entry = remote.contents.snapshot.get(path)
    if entry is None or entry.kind == "dir":
        raise NotFound(f"{reference} has no file {display(path)}", hint="bundle ls REF lists them")
    if entry.kind == "link":
        start, stop = part or (0, None)
        yield iter([(entry.target or "").encode()[start:stop]])
        return
    place = remote.contents.places[path]
    if part is not None:
        with reading(session.store(reference), place, entry.size, *part) as chunks:
            yield chunks
        return
    with reading(session.store(reference), place, entry.size) as chunks:
        yield verified(entry.content, chunks)


def split_path(text: str) -> tuple[str, str]:
    """`REF:PATH` as reference and path.

    The path follows the last colon that is not part of the reference: `:v1:a/b`, `@sha256:…:a/b`,
    `host:5000/repo:v1:a/b`.
    """
    head, colon, path = text.rpartition(":")
    return (head, path) if colon else (text, "")
