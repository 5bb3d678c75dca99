"""Sending what a push plan names: files, packs, metadata and the manifest by digest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from modelops_bundle.disk.hashing import Hashed, write_back
from modelops_bundle.disk.tree import StatKey
from modelops_bundle.errors import BundleError, NotFound
from modelops_bundle.events import Started, checkpoint
from modelops_bundle.model import media
from modelops_bundle.model.artifact import Artifact
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Atomic, Chunks, Mounter, Store
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.packing import contents_of
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.push import PushPlan
from modelops_bundle.transfer import copy, engine
from modelops_bundle.transfer.openended import send_open
from modelops_bundle.transfer.pack import Packs, Spooled
from modelops_bundle.workspace.tree import WorkTree

if TYPE_CHECKING:
    # Only where there are chunks.
    from modelops_bundle.transfer.encode import ChunkPacks


def send_files(session: Session, plan: PushPlan, store: Store) -> PushPlan:
    """Send the files whose digest is open, finding it on the way; returns the complete plan.

    :raises WorkspaceChanged: a file changed since the plan was made.
    """
    if not plan.open:
        return plan
    tree, run = WorkTree(session.tree, plan.snapshot, plan.keys), session.run
    found: dict[str, Digest] = {}
    run.emit(Started("upload", len(plan.open), sum(plan.snapshot[path].size for path in plan.open)))

    def one(path: str) -> None:
        entry, taken = plan.snapshot[path], time.time_ns()
        write_back(session.tree, path)
        kind = media.layer_type(entry.role)
        watch = partial(session.watch, path, entry.size, partial(tree.read, path))
        sent = send_open(path, entry.size, kind, lambda: tree.open_path(path, 0, entry.size), store, run, watch)
        found[path] = sent.digest
        session.index.put(path, Hashed(sent.digest, StatKey(*plan.keys[path]), taken))

    engine.each(sorted(plan.open, key=lambda path: -plan.snapshot[path].size), one, run)
    session.index.save()
    checkpoint("open files sent")
    return _listed(session, plan.complete(found))


def _listed(session: Session, plan: PushPlan) -> PushPlan:
    """The plan with the chunks of its large files, now that it is known what those are."""
    from modelops_bundle.formats import cuts

    if all(entry.size < cuts.SMALLEST for entry in plan.snapshot.values()):
        return plan
    from modelops_bundle.operations import delta

    sides = delta.Sides(plan.snapshot, plan.keys, plan.inside)
    return replace(plan, chunks=delta.plain(session, sides))


class Lost(NotFound):
    """The store does not hold `blobs`, which the chunks of files are in, and they cannot be made of the tree."""

    def __init__(self, blobs: Sequence[Descriptor]) -> None:
        super().__init__(f"{blobs[0].digest} is gone from the repository", hint="push --plain")
        self.blobs = frozenset(what.digest for what in blobs)


def send(session: Session, plan: PushPlan, store: Store) -> copy.Copied:
    """Bring the blobs of the plan's artifact and its manifest to `store`.

    :raises WorkspaceChanged: a file changed since the plan was made. :raises Lost: chunks it counts on are gone.
    """
    made = plan.artifact
    manifest, data = made.manifest.descriptor(), made.manifest.to_bytes()
    source = Source(session, plan, made, store)
    # A registry refuses a manifest whose blobs it lacks; a directory takes it, so there each blob is looked for.
    known = frozenset[str]() if isinstance(store, Atomic) else plan.known
    wanted = [
        (what, name)
        for what, name in (*made.file_blobs(), *((what, "(metadata)") for what, _ in made.generated()))
        if str(what.digest) not in known
    ]
    _require(session, [what for what, _ in wanted if not source.has(what)], store)
    wanted = [each for each in wanted if source.has(each[0])]
    likely = plan.known | _likely(session, plan.place)
    mounts = _elsewhere(session, plan.place) if wanted and isinstance(store, Mounter) else {}
    copied = copy.copy_blobs(wanted, source, store, session.run, likely=likely, mounts=mounts)
    checkpoint("blobs sent")
    try:
        store.put(manifest, [data])
    except BundleError as error:
        if "blobs" not in error.facts:
            raise
        # The registry lost blobs it was known to have: bring exactly those back, once. Not all say which.
        named, every = set(error.facts["blobs"]), (made.manifest.config, *made.manifest.layers)
        again = [(what, "(again)") for what in every if (str(what.digest) in named if named else not store.has(what))]
        _require(session, [what for what, _ in again if not source.has(what)], store)
        copy.copy_blobs([each for each in again if source.has(each[0])], source, store, session.run)
        store.put(manifest, [data])
    checkpoint("manifest sent")
    return copied


def _require(session: Session, blobs: Sequence[Descriptor], store: Store) -> None:
    """:raises Lost: one of `blobs`, which nothing here holds, is not in the store either."""
    lost: list[Descriptor] = []

    def one(what: Descriptor) -> None:
        if not store.has(what):
            lost.append(what)

    engine.each(blobs, one, session.run)
    if lost:
        raise Lost(lost)


def _likely(session: Session, place: str) -> frozenset[str]:
    """Blobs that the repository held under any tag this clone ever saw there: asked for before they are sent."""
    here = parse(place)
    found = remote_state.kept(session, lambda other: other.at() == here)
    return frozenset().union(*(remote_state.blob_digests(manifest) for _, manifest in found))


def _elsewhere(session: Session, place: str) -> dict[str, list[str]]:
    """Per blob, the other repositories of the same registry in which this clone ever saw it."""
    here, found = parse(place), dict[str, list[str]]()

    def beside(other: Reference) -> bool:
        return (other.scheme, other.host) == (here.scheme, here.host) and other.repository != here.repository

    for other, manifest in remote_state.kept(session, beside):
        for digest in remote_state.blob_digests(manifest):
            found.setdefault(digest, []).append(other.repository)
    return found


class Source:
    """The working tree, its packs and the blobs made for this push, as one reader."""

    def __init__(self, session: Session, plan: PushPlan, made: Artifact, store: Store) -> None:
        self._tree = WorkTree(session.tree, plan.snapshot, plan.keys)
        self._packs = Packs(plan.packed, contents_of(self._tree, plan.image), session.spooled)
        self._chunks = _chunk_packs(plan, self._tree, store, session.spooled) if plan.fresh else None
        self._made = {what.digest: content for what, content in made.generated()}

    def has(self, what: Descriptor) -> bool:
        chunks = self._chunks
        known = what.digest in self._made or self._packs.has(what) or self._tree.has(what)
        return known or (chunks is not None and chunks.has(what))

    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> AbstractContextManager[Chunks]:
        content = self._made.get(what.digest)
        if content is not None:
            return nullcontext(iter([content[start:stop]]))
        if self._packs.has(what):
            return self._open_pack(what, start, stop)
        if self._chunks is not None and self._chunks.has(what):
            return self._chunks.open(what, start, stop)
        return self._tree.open(what, start, stop)

    @contextmanager
    def _open_pack(self, what: Descriptor, start: int, stop: int | None) -> Iterator[Chunks]:
        with self._tree.keeping(), self._packs.open(what, start, stop) as chunks:
            yield chunks


def _chunk_packs(plan: PushPlan, tree: WorkTree, store: Store, spooled: Spooled) -> ChunkPacks:
    from modelops_bundle.transfer.bases import Bases
    from modelops_bundle.transfer.encode import ChunkPacks

    return ChunkPacks(plan.chunks, plan.fresh, tree.read, Bases(plan.chunks.packs, store), spooled)
