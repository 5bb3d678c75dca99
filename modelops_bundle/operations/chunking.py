"""The chunks that large files are made of: known from when they were hashed, or found by reading them once more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from modelops_bundle.disk.hashing import beside
from modelops_bundle.errors import BundleError, Corrupt
from modelops_bundle.events import Advanced, Finished, ItemStarted, Started
from modelops_bundle.formats import cuts
from modelops_bundle.model.chunkmap import ChunkList, is_whole
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import display
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.operations.remote_state import Remote
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.chunks import matches
from modelops_bundle.transfer.encode import Read
from modelops_bundle.workspace import chunks
from modelops_bundle.workspace.tree import WorkTree

if TYPE_CHECKING:
    from modelops_bundle.formats.cuts import Plan

LOOKS = 16
"""Chunks of a file that are compared with what others say of it."""

Lists = dict[Digest, tuple[str, ChunkList]]
"""By the digest of a file: the name of its chunker, and its chunks."""


class _Wanted(NamedTuple):
    """A file that has to be read, and how it is cut."""

    path: str
    entry: Entry
    plan: Plan


def chunk_lists(
    session: Session, snapshot: Snapshot, keys: Mapping[str, tuple[int, ...]], paths: Iterable[str]
) -> Lists:
    """The chunk lists of those of the files at `paths` that are cut: neither small nor compressed.

    :param snapshot: what the tree holds, with no digest left open.
    :param keys: the stat key that each digest was taken under.
    :raises WorkspaceChanged: a file that had to be read is not in the state of its key.
    :raises Corrupt: it is, and its bytes are others.
    """
    found: Lists = {}
    wanted: dict[Digest, _Wanted] = {}
    tree = WorkTree(session.tree, snapshot, keys)
    for path in paths:
        entry = snapshot[path]
        if entry.digest in found or entry.digest in wanted or not _may_be_cut(path, entry):
            continue
        known = session.chunks.get(entry.digest)
        if known is not None:
            found[entry.digest] = known
        elif (plan := _plan(tree, path, entry)) is not None:
            wanted[entry.digest] = _Wanted(path, entry, plan)
    if wanted:
        _read(session, tree, sorted(wanted.values(), key=lambda each: -each.entry.size), found)
    return found


def _may_be_cut(path: str, entry: Entry) -> bool:
    """Whether the cache may be asked: what it knows may be from another name, and lists follow from the tree alone."""
    if entry.kind != "file" or entry.size < chunks.SMALLEST:
        return False
    from modelops_bundle.formats.cuts import is_compressed

    return not is_compressed(path)


def _plan(tree: WorkTree, path: str, entry: Entry) -> Plan | None:
    from modelops_bundle.formats.cuts import chunker_for

    return chunker_for(path, entry.size, partial(tree.read, path), smallest=chunks.SMALLEST)


def _read(session: Session, tree: WorkTree, wanted: Sequence[_Wanted], found: Lists) -> None:
    run = session.run
    run.emit(Started("chunk", len(wanted), sum(each.entry.size for each in wanted)))

    def one(each: _Wanted) -> None:
        run.emit(ItemStarted(each.path, each.path, each.entry.size))
        listed = _listed(session, tree, each)
        if listed is not None:
            found[each.entry.digest] = listed
        run.emit(Finished(each.path, "failed" if listed is None else "copied"))

    engine.each(wanted, one, run)


def _listed(session: Session, tree: WorkTree, each: _Wanted) -> tuple[str, ChunkList] | None:
    """The chunks of one file, which is read once; None where it cannot be cut after all."""
    run, hasher = session.run, hashlib.sha256()
    path, entry = each.path, each.entry
    listing = chunks.Listing(session.chunks, each.plan, entry.size)
    with tree.open_path(path, 0, entry.size) as blocks, beside(listing) as show:
        for block in blocks:
            run.check()
            shown = show(block)
            hasher.update(block)
            shown()
            run.emit(Advanced(path, len(block)))
    if hasher.hexdigest() != entry.digest.hex:
        raise Corrupt(
            f"{display(path)} holds other bytes than when it was hashed, and nobody wrote to it since",
            hint="run 'bundle verify --deep'; restore the file, or write it anew",
            path=display(path),
        )
    return listing.finish(entry.digest)


def is_likely(path: str, size: int, told: tuple[str, ChunkList], read: Read) -> bool:
    """Whether a file is cut as it would be here, and has the chunks that it is said to have, by the look of some."""
    name, chunks = told
    plan = cuts.chunker_for(path, size, partial(read, path), smallest=cuts.SMALLEST)
    if plan is None or plan.chunker != name or (plan.sizes is not None and plan.sizes != chunks.sizes):
        return False
    offsets = chunks.offsets()
    looked = {*range(0, len(chunks), max(1, len(chunks) // LOOKS)), len(chunks) - 1}
    return offsets[-1] == size and all(
        matches(read(path, offsets[number], chunks.sizes[number]), chunks.digest(number)) for number in looked
    )


def said(wanted: set[Digest], bases: Sequence[Remote], *, whole: bool) -> dict[Digest, tuple[str, ChunkList]]:
    """The chunks of files in versions in the same repository: of those that are blobs of their own, or of the others."""
    found: dict[Digest, tuple[str, ChunkList]] = {}
    for remote in bases:
        if wanted <= found.keys():
            break
        with suppress(BundleError):
            contents = remote.contents
            for path, recipe in contents.chunks.files.items():
                digest = contents.snapshot[path].digest
                if digest in wanted and digest not in found and is_whole(recipe, digest) is whole:
                    found[digest] = recipe.chunker, recipe.listed()
    return found
