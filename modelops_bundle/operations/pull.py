"""pull: plan, then apply exactly that (DESIGN §6)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from modelops_bundle.disk.files import supports_links
from modelops_bundle.disk.hashing import Hashed
from modelops_bundle.disk.tree import StatKey
from modelops_bundle.errors import BundleError, NotFound, PartialFailure, Unsupported, WorkspaceChanged
from modelops_bundle.events import checkpoint
from modelops_bundle.model.chunkmap import is_whole
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import display
from modelops_bundle.model.reference import parse
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import losses, policy, remote_state
from modelops_bundle.operations.local_state import Local, Scan, entries_at, keys_at, obstacles
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace import chunks
from modelops_bundle.workspace.index import tick
from modelops_bundle.workspace.seen import Sighting

if TYPE_CHECKING:
    # A pull of nothing new comes without, here and below.
    from modelops_bundle.operations.stage import Counts
    from modelops_bundle.plan.pull import Choices, PullPlan


@dataclass(frozen=True, slots=True)
class Result:
    """What a pull really did: blobs and bytes that came over the wire, blobs that were here, the bytes of files that had
    not to come, and the paths changed, deleted, adopted and kept.
    """

    reference: str
    digest: Digest
    fetched: int = 0
    fetched_bytes: int = 0
    reused: int = 0
    written: int = 0
    deleted: int = 0
    adopted: int = 0
    kept: int = 0
    conflicts: tuple[str, ...] = ()
    changed: bool = True
    reused_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "reference": self.reference,
            "digest": str(self.digest),
            "fetched_blobs": self.fetched,
            "fetched_bytes": self.fetched_bytes,
            "reused_blobs": self.reused,
            "reused_bytes": self.reused_bytes,
            "written_paths": self.written,
            "deleted_paths": self.deleted,
            "adopted_paths": self.adopted,
            "kept_paths": self.kept,
            "conflicts": list(self.conflicts),
            "changed": self.changed,
        }


def make_plan(session: Session, text: str | None, choices: Choices | None = None) -> PullPlan:
    """Decide a pull: the manifest is fixed here and never resolved again; local files are hashed where needed.

    :raises NotFound: the reference is absent. :raises UnsafePath: it holds a path nobody may create.
    """
    return Look(session, text).plan(choices)


class Look:
    """A look at both sides of a pull: the tree, and what the reference stands for.

    :raises NotFound: the reference is absent.
    """

    def __init__(self, session: Session, text: str | None) -> None:
        self._session = session
        if session.project.is_landing:
            from modelops_bundle.operations.recover import recover  # all of a pull's machinery

            with session.project.locked():
                recover(session)
        reference = session.current(text)
        # Before the network: it may go on in a process of its own, which only one without threads can start.
        self._scan = Scan(session, strict=True)
        session.keep_in = session.project.parts
        self._remote = remote_state.require(session, reference)
        policy.require(session, reference, self._remote.digest)
        self._reference = remote_state.key(reference)

    @cached_property
    def _here(self) -> Local:
        return self._scan.finish()

    def unchanged(self) -> Result | None:
        """The result of the pull when tree and clone agree with the remote already; None when a plan is needed."""
        session, digest = self._session, self._remote.digest
        at, sighting = session.project.at(), session.seen.get(self._reference)
        known = (at.digest, at.reference, sighting.digest if sighting else None)
        if known != (digest, self._reference, digest) or not self._here.is_at(at) or self._here.gone:
            return None
        if session.options.platform is not None and self._remote.contents.snapshot != at.snapshot:
            # The same index, and another manifest of it.
            return None
        session.project.sweep()
        return Result(self._reference, digest, changed=False)

    def plan(self, choices: Choices | None = None) -> PullPlan:
        """Decide the pull.

        :raises UnsafePath: it holds a path nobody may create. :raises NoMatch: a path to settle is not in question.
        """
        from modelops_bundle.plan.pull import PLAIN, plan_pull

        session, mine = self._session, self._here
        losses.report(session, self._remote)
        contents = self._remote.contents
        there = contents.snapshot
        elsewhere = {
            path: entry
            for path, entry in entries_at(session, [path for path in there if path not in mine.tracked]).items()
            # A directory where something else is to be is no entry: what is in it stands in the way, or goes.
            if entry.kind != "dir" or there[path].kind == "dir"
        }
        return plan_pull(
            self._reference,
            self._remote.digest,
            session.project.at().snapshot,
            mine.here,
            there,
            tracked=mine.tracked,
            untracked=elsewhere,
            obstacles=obstacles(session, there, {**elsewhere, **mine.here}),
            places=contents.places,
            choices=choices or PLAIN,
        )


def apply_pull(session: Session, plan: PullPlan) -> Result:
    """Carry a plan out: stage and verify every byte, write down the intent, change the tree, move the merge base.

    :raises Conflict, WouldOverwrite: the plan is refused as a whole; nothing was written.
    :raises WorkspaceChanged: a path is not what the plan saw; nothing was written.
    :raises DiskFull: there is no room; found before the first byte.
    :raises PartialFailure: a merge left conflicts, which are listed; the rest is done.
    """
    from modelops_bundle.operations.recover import Commit, record, recover
    from modelops_bundle.operations.stage import Counts, stage
    from modelops_bundle.transfer import intent, land

    plan.check()
    with session.project.locked():
        recover(session)
        staging = session.staging
        if _is_recorded(session, plan):
            staging.clear()
            return _result(plan, Counts(), changed=False)
        sighting = _sighting(session, plan)

        look = partial(entries_at, session)
        land.check_unchanged(plan.steps, look)
        _check_links(session, plan)
        counts, packed = stage(session, plan, staging)
        commit = Commit.of(plan, sighting)
        journal = session.project.landing
        if plan.steps:
            intent.write_intent(journal, intent.Intent(plan.steps, commit.to_json(), packed, commit.blobs()))
            checkpoint("intent written")
        placed: dict[str, StatKey] = {}
        keys = partial(keys_at, session)
        left = land.apply(
            session.tree, staging, plan.steps, look, session.run, packed=packed, verified=True, keys=keys, placed=placed
        )
        _remember_digests(session, plan, placed)
        _remember_chunks(session, plan, placed)
        record(session, commit, left)
        checkpoint("pull recorded")
        intent.forget_intent(journal)
        staging.clear()
    _find_chunks(session, plan, placed)
    if left:
        raise WorkspaceChanged(
            f"changed while they were being replaced, and left alone: {', '.join(display(s.path) for s in left[:10])}",
            hint="run 'bundle status'",
            paths=[step.path for step in left],
        )
    return _result(plan, counts)


def _is_recorded(session: Session, plan: PullPlan) -> bool:
    """Whether the plan neither changes the disk nor what this clone knows."""
    if plan.steps or plan.track or plan.untrack or not plan.complete:
        return False
    project, seen = session.project, session.seen.get(plan.reference)
    at = project.at()
    known = (at.reference, at.digest, seen.digest if seen else None) == (plan.reference, plan.digest, plan.digest)
    return known and at.snapshot == plan.base


def _result(plan: PullPlan, counts: Counts, *, changed: bool = True) -> Result:
    unsettled = tuple(change.path for change in plan.conflicts) + plan.collisions
    result = Result(
        plan.reference,
        plan.digest,
        counts.fetched,
        counts.size,
        counts.reused,
        sum(1 for step in plan.steps if step.after is not None),
        sum(1 for step in plan.steps if step.after is None),
        len(plan.adopted),
        len(plan.kept),
        unsettled,
        changed,
        counts.reused_size,
    )
    if unsettled:
        raise PartialFailure(
            f"{len(unsettled)} path{'s' * (len(unsettled) != 1)} left in conflict: "
            + ", ".join(display(path) for path in unsettled[:10]),
            hint="settle each with --ours PATH or --theirs PATH",
            failed=list(unsettled),
            done=result.to_json(),
        )
    return result


def _sighting(session: Session, plan: PullPlan) -> Sighting | None:
    """The manifest of a complete plan, kept for the lease; one request at most when planning did not just bring it."""
    if not plan.complete:
        return None
    reference = parse(plan.reference)
    kept = session.read.get(plan.digest) or session.seen.get(plan.reference)
    if kept is not None and kept.digest == plan.digest:
        return Sighting(plan.reference, kept.manifest, kept.index)
    store = session.store(reference)
    found = store.resolve(str(plan.digest), data=True)
    if found is None:
        raise NotFound(f"{reference.at(None, plan.digest)} is gone", hint="make the plan again")
    sighting = remote_state.read(session, reference.at(reference.tag, plan.digest), found, store).sighting
    return Sighting(plan.reference, sighting.manifest, sighting.index)


def _check_links(session: Session, plan: PullPlan) -> None:
    """:raises Unsupported: the file system has no symbolic links and the plan makes one; nothing was written."""
    links = any(step.after is not None and step.after.kind == "link" for step in plan.steps)
    if links and not supports_links(session.project.folder):
        raise Unsupported("this file system has no symbolic links, and the bundle holds some")


def _remember_digests(session: Session, plan: PullPlan, placed: Mapping[str, StatKey]) -> None:
    """What was just written need not be hashed by the next status: its digest was verified on the way in.

    Only where the key proves it: the bytes were written so long before the file got its name that any write since
    then shows in the mtime.
    """
    written = {step.path: step.after for step in plan.steps}
    for path, key in placed.items():
        entry = written[path]
        if entry is not None and key.mtime_ns + tick(key) < key.ctime_ns:
            taken = max(time.time_ns(), key.ctime_ns + tick(key) + 1)
            session.index.put(path, Hashed(entry.digest, key, taken))
    session.index.save()


def _find_chunks(session: Session, plan: PullPlan, placed: Mapping[str, StatKey]) -> None:
    """Find the chunks of large files of which the version says none, as those of other tools: once such a file is
    edited, nobody knows any more what a push could leave out.
    """
    after = {step.path: step.after for step in plan.steps if step.path in placed and step.path in plan.places}
    large = {
        path: entry
        for path, entry in after.items()
        if entry is not None and entry.size >= chunks.SMALLEST and plan.places[path].recipe is None
    }
    if large:
        from modelops_bundle.operations.chunking import chunk_lists

        # It saves bytes later, and no pull fails for it.
        with suppress(BundleError):
            chunk_lists(session, Snapshot(large), placed, large)


def _remember_chunks(session: Session, plan: PullPlan, placed: Iterable[str]) -> None:
    """What the version says of the chunks of the files just written, as its word: only their digests were verified."""
    written = {step.path: step.after for step in plan.steps}
    for path in placed:
        entry, place = written[path], plan.places.get(path)
        recipe = place.recipe if place is not None else None
        if entry is not None and recipe is not None and is_whole(recipe, entry.digest):
            own = recipe.packs[recipe.segments[0][0]].chunks
            session.chunks.put(entry.digest, recipe.chunker, own, told=True)
