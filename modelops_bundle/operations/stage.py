"""Bringing the content of every step of a pull into the staging folder, verified, from wherever it is nearest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modelops_bundle.disk.files import free_bytes
from modelops_bundle.disk.tree import StatKey
from modelops_bundle.errors import DiskError, DiskFull, WouldOverwrite
from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Reader
from modelops_bundle.model.reference import parse
from modelops_bundle.operations.local_state import keys_at
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.pull import PullPlan, needs_bytes
from modelops_bundle.stores.cache import Cache
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.intent import Packed
from modelops_bundle.transfer.staging import Staging
from modelops_bundle.transfer.unpack import Member, fetch_members, take_out, take_out_of_archive, wants_whole
from modelops_bundle.workspace.index import tick

if TYPE_CHECKING:
    from modelops_bundle.model.chunkmap import Recipe
    from modelops_bundle.operations.seeding import Seeding

_LARGE = 8 * 1024 * 1024
"""Bytes of a file that another program may have brought as well."""


@dataclass(slots=True)
class Counts:
    """Blobs and bytes that came over the wire, files whose content was here already, and bytes of files that had not to
    come.
    """

    fetched: int = 0
    size: int = 0
    reused: int = 0
    reused_size: int = 0


@dataclass(slots=True)
class _Blob:
    """A blob with what is wanted of it: all of it, because it is a file, or members of a pack; or both."""

    what: Descriptor
    path: str
    is_file: bool = False
    is_archive: bool = False
    """Somebody else made it: it is read as a whole, from its beginning."""
    recipe: Recipe | None = None
    """The chunks that the file is made of."""
    is_blob: bool = True
    """The store has it under its digest, and not only its chunks."""
    members: list[Member] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether the blob itself is staged."""
        return self.is_file or self.is_archive or wants_whole(self.what, self.members)

    @property
    def size(self) -> int:
        """Bytes to bring, about."""
        return self.what.size if self.whole else sum(member.size for member in self.members)

    @property
    def label(self) -> str:
        """What people are told of it."""
        others = len(self.members) - 1
        return f"{self.path} and {others:,} more" if others > 0 else self.path


def stage(session: Session, plan: PullPlan, staging: Staging) -> tuple[Counts, Packed]:
    """Stage what `plan` needs; returns what it took, and the small files that are in staged packs.

    :raises DiskFull: there is no room; found before the first byte. :raises Corrupt: the store holds other bytes.
    """
    counts = Counts()
    blobs = _wanted(session, plan, staging, counts)
    _check_room(session, plan, blobs, staging)
    run = session.run
    if blobs:
        run.emit(Started("download", len(blobs), sum(blob.size for blob in blobs)))
        _fetch(session, plan, session.store(parse(plan.reference)), staging, blobs, counts)
        _let_settle(run, [blob.what for blob in blobs if blob.is_file], staging)
    packed = {
        member.digest: (blob.what.digest, member.offset)
        for blob in blobs
        if blob.whole and not blob.is_archive
        for member in blob.members
    }
    return counts, packed


def _wanted(session: Session, plan: PullPlan, staging: Staging, counts: Counts) -> list[_Blob]:
    """The blobs to bring, after what is here already was taken from here."""
    known = _known_files(session)
    staged = staging.names()
    blobs: dict[Digest, _Blob] = {}
    done: set[Digest] = set()
    for step in plan.steps:
        entry = step.after
        if entry is None or not needs_bytes(step) or entry.digest in done:
            continue
        done.add(entry.digest)
        place = plan.places[step.path]
        member = Member(entry.digest, entry.size, place.offset or 0)
        here = entry.digest.hex in staged and staging.has(member.content)
        if here or _copy_local(session, staging, member, known.get(entry.digest)):
            counts.reused += 1
            counts.reused_size += entry.size
            _tell_reused(session.run, step.path, member)
            continue
        what = place.blob or entry.content
        blob = blobs.setdefault(what.digest, _Blob(what, step.path))
        if place.offset is None:
            blob.is_file = True
            blob.is_blob = place.blob is not None
            blob.recipe = place.recipe
        else:
            blob.members.append(member)
            blob.is_archive = blob.is_archive or place.archive
    return list(blobs.values())


def _tell_reused(run: Run, path: str, member: Member) -> None:
    key = str(member.digest)
    run.emit(ItemStarted(key, path, member.size))
    run.emit(Advanced(key, member.size))
    run.emit(Finished(key, "linked"))


def _check_room(session: Session, plan: PullPlan, blobs: Iterable[_Blob], staging: Staging) -> None:
    """:raises DiskFull: what is to come does not fit."""
    seen: set[Digest] = set()
    missing = 0
    for blob in blobs:
        missing += staging.needed_space(blob.what) if blob.whole else blob.size
        missing += sum(member.size for member in blob.members) if blob.whole else 0
    for step in plan.steps:
        if step.after is not None and needs_bytes(step):
            # The same content at a further path is a copy.
            missing += step.after.size if step.after.digest in seen else 0
            seen.add(step.after.digest)
    free = free_bytes(session.project.folder)
    if missing > free:
        raise DiskFull(
            f"the pull needs {missing} bytes, and {free} are free",
            hint="free some space and run the same command again",
            needed=missing,
        )


def _known_files(session: Session) -> Mapping[Digest, str]:
    """Files of the merge base that stay or go only now: their content need not travel again."""
    return {
        entry.digest: path
        for path, entry in session.project.at().snapshot.items()
        if entry.kind == "file" and entry.size
    }


def _copy_local(session: Session, staging: Staging, member: Member, path: str | None) -> bool:
    if path is None or not keys_at(session, [path]):
        return False
    try:
        source = session.tree.open_read(path)
    except (DiskError, WouldOverwrite):
        # Something else is there now; the content comes from the remote.
        return False
    try:
        return staging.adopt(member.content, source)
    finally:
        os.close(source)


def _fetch(
    session: Session, plan: PullPlan, store: Reader, staging: Staging, blobs: Sequence[_Blob], counts: Counts
) -> None:
    run, cache = session.run, session.cache
    brought: list[_Brought] = []

    def one(blob: _Blob) -> None:
        key = str(blob.what.digest)

        def progress(amount: int) -> None:
            run.emit(Advanced(key, amount))

        run.emit(ItemStarted(key, blob.label, blob.size))
        here = blob.whole and (staging.has(blob.what) or _from_here(session, blob.what, staging))
        if not blob.whole:
            done = _Brought(fetch_members(blob.what, blob.members, store, staging, run, progress))
        elif here:
            done = _Brought(0, blob.what.size, here=True)
            progress(blob.what.size)
        else:
            done = _bring(blob, store, staging, seeding, run, progress)
            if cache is not None:
                cache.keep(blob.what, staging.path(blob.what.digest))
        if blob.is_archive:
            _empty(blob, staging, run)
        elif blob.whole:
            take_out(blob.what, blob.members, staging, run)
        run.emit(Finished(key, "linked" if done.here else "copied"))
        brought.append(done)

    with _seeding(session, plan, staging, store, blobs) as seeding:
        engine.each(sorted(blobs, key=lambda blob: -blob.size), one, run)
    counts.size = sum(each.size for each in brought)
    counts.fetched = sum(1 for each in brought if not each.here)
    counts.reused += len(brought) - counts.fetched
    counts.reused_size += sum(each.reused for each in brought)


def _seeding(
    session: Session, plan: PullPlan, staging: Staging, store: Reader, blobs: Iterable[_Blob]
) -> AbstractContextManager[Seeding | None]:
    """What brings files of chunks, where there are any."""
    if not any(blob.recipe for blob in blobs):
        return nullcontext()
    from modelops_bundle.operations.seeding import PullSeeding

    return PullSeeding(session, plan, staging, store)


class _Brought(NamedTuple):
    """Bytes that came for a blob, bytes of it that had not to come, and whether that was all of it."""

    size: int
    reused: int = 0
    here: bool = False


def _bring(
    blob: _Blob, store: Reader, staging: Staging, seeding: Seeding | None, run: Run, progress: Callable[[int], None]
) -> _Brought:
    """Bring a whole blob, or a file that is made of chunks."""
    made = None
    if blob.recipe is not None and seeding is not None:
        made = seeding.bring(blob.path, blob.what, blob.recipe, progress, plain=blob.is_blob)
    if made is not None:
        return _Brought(made.received, made.reused, here=not made.received)
    received = staging.fetch(blob.what, store, run, progress)
    if blob.recipe is not None and seeding is not None:
        seeding.brought(blob.what, blob.recipe)
    return _Brought(received)


def _empty(blob: _Blob, staging: Staging, run: Run) -> None:
    take_out_of_archive(blob.what, blob.members, staging, run)
    if not blob.is_file:
        # All that was wanted of it has files of its own now.
        staging.drop(blob.what)


def _from_here(session: Session, what: Descriptor, staging: Staging) -> bool:
    """Bring a blob from where it was kept when it was looked into, or from the cache."""
    kept, cache = session.spooled.pop(what.digest, None), session.cache
    if kept is not None and kept.is_whole:
        os.lseek(kept.fileno(), 0, os.SEEK_SET)
        if staging.adopt(what, kept.fileno()):
            return True
    if cache is not None and _from_cache(cache, what, staging):
        return True
    hub = session.options.hub
    return hub is not None and what.size >= _LARGE and _from_hub(hub, what, staging)


def _from_hub(hub: Path, what: Descriptor, staging: Staging) -> bool:
    from modelops_bundle.operations import neighbours

    source = neighbours.whole(hub, what.digest)
    if source is None:
        return False
    try:
        return staging.adopt(what, source)
    finally:
        os.close(source)


def _from_cache(cache: Cache, what: Descriptor, staging: Staging) -> bool:
    with cache.open(what) as source:
        return source is not None and staging.adopt(what, source)


def _let_settle(run: Run, staged: Sequence[Descriptor], staging: Staging) -> None:
    """Wait a clock tick where that saves the next status from hashing a gigabyte."""
    for what in staged:
        key = StatKey.of(staging.path(what.digest).stat())
        young = tick(key) - (time.time_ns() - key.mtime_ns)
        if 0 < young / 1e9 < key.size / 1.5e9:
            run.cancelled.wait(young / 1e9)
