"""ls, tags, inspect, cat: looking without pulling."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from modelops_bundle.errors import BundleError, NotFound, Unsupported
from modelops_bundle.model import artifact, foreign, image_index, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.paths import display
from modelops_bundle.model.ports import Chunks, Lister
from modelops_bundle.model.reference import Reference, is_service_tag
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.local_state import local
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.unpack import reading
from modelops_bundle.transfer.verify import verified


def ls(session: Session, text: str | None) -> Snapshot:
    """What a version holds, or without `text` the tracked files on disk."""
    if text is None:
        return local(session, strict=False).here
    return remote_state.require(session, session.reference(text)).contents.snapshot


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag: what it stands for; size and files are None for what is no bundle."""

    name: str
    digest: Digest
    size: int | None
    files: int | None
    created: str | None
    kind: str

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "tag": self.name,
            "digest": str(self.digest),
            "size": self.size,
            "files": self.files,
            "created": self.created,
            "kind": self.kind,
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
    """The tags of a repository: one request for the list and one for each tag.

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
            tag = _describe(name, what)
            with lock:
                found[name] = tag

    engine.each(names, one, session.run)
    return reference, [found[name] for name in sorted(found)]


def _describe(name: str, what: Descriptor) -> Tag:
    try:
        manifest = Manifest.from_bytes(what.data or b"", what.media_type)
    except BundleError:
        return Tag(name, what.digest, None, None, None, what.media_type)
    layers = [layer for layer in manifest.layers if not _is_index(layer)]
    return Tag(
        name,
        what.digest,
        sum(layer.size for layer in layers),
        _files(manifest, layers),
        manifest.annotations.get(media.CREATED),
        _kind(manifest),
    )


def _is_index(layer: Descriptor) -> bool:
    path = layer.annotations.get(media.FILEPATH, "")
    return path == artifact.INDEX_PATH or path.startswith(artifact.EARLIER_PATH)


def _files(manifest: Manifest, layers: Sequence[Descriptor]) -> int | None:
    """How many files there are, as far as the manifest itself tells it: packs hold many, and large indexes are apart."""
    if not any(layer.annotations.get(media.FILEPATH, "").startswith(artifact.PACKS_PATH) for layer in layers):
        return _named(manifest) if not artifact.is_ours(manifest) else len(layers)
    try:
        snapshot = artifact.read(manifest, _not_fetched).snapshot
    except BundleError:
        return None
    return sum(1 for entry in snapshot.values() if entry.kind == "file")


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
        }


def inspect(session: Session, text: str | None) -> Inspection:
    """Read one manifest. :raises NotFound: the reference is absent."""
    reference = session.reference(text)
    store = session.store(reference)
    found = store.resolve(reference.name or "", data=True)
    if found is None or found.data is None:
        raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is", reference=str(reference))
    annotations: dict[str, str] = {}
    kind, contents, why = found.media_type, None, None
    try:
        if not image_index.is_one(found.data, found.media_type):
            manifest = Manifest.from_bytes(found.data, found.media_type)
            annotations = dict(manifest.annotations)
            kind = _kind(manifest)
        contents = remote_state.read(session, reference, found, store).contents.snapshot
    except Unsupported as error:
        why = error.message
    return Inspection(str(reference), found.digest, found.data, found.media_type, annotations, kind, contents, why)


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
