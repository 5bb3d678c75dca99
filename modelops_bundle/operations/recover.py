"""Finishing what a killed command had decided on (DESIGN §5: roll forward)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from modelops_bundle.errors import Corrupt, Locked, UnsafePath
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations.local_state import entries_at, keys_at
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.pull import PullPlan, Step
from modelops_bundle.transfer import land
from modelops_bundle.transfer.intent import forget_intent, read_intent
from modelops_bundle.workspace.base import At, at_from_bytes, at_to_bytes
from modelops_bundle.workspace.seen import Sighting


def recover(session: Session) -> None:
    """Carry out a landing that a killed command left. Call with the lock held.

    Paths somebody changed since then stay as they are, and stay conflicts.
    """
    journal = session.project.landing
    session.project.sweep()
    try:
        intent = read_intent(journal)
        commit = None if intent is None else Commit.read(intent.commit, intent.blobs)
    except (Corrupt, UnsafePath) as error:
        # It was written whole, so this is damage; nothing can be finished by it, and it must not stop everything.
        journal.replace(journal.with_suffix(".bad"))
        session.run.notice(
            "journal-damaged", f"an interrupted change cannot be finished ({error.message}): bundle status"
        )
        return
    if intent is None or commit is None:
        return
    staging = session.staging
    land.sweep(session.tree, [step.path for step in intent.steps])
    left = land.apply(
        session.tree,
        staging,
        intent.steps,
        partial(entries_at, session),
        session.run,
        packed=intent.packed,
        keys=partial(keys_at, session),
    )
    record(session, commit, left)
    forget_intent(journal)
    staging.clear()
    session.run.notice("recovered", "finished what an interrupted command had begun")


def recover_if_free(session: Session) -> None:
    """`recover` for commands that only read: not while somebody else is writing."""
    if not session.project.is_landing:
        return
    try:
        with session.project.locked(wait=0):
            recover(session)
    except Locked:
        session.run.notice("busy", "another command is changing this tree just now")


@dataclass(frozen=True, slots=True)
class Commit:
    """What a landing records once its steps are done.

    `base` is the merge base afterwards, None where it stays; `sighting` what the lease becomes when nothing is left.
    """

    reference: str
    digest: Digest
    base: Snapshot | None
    track: tuple[str, ...]
    untrack: tuple[str, ...]
    sighting: Sighting | None

    @classmethod
    def of(cls, plan: PullPlan, sighting: Sighting | None) -> Self:
        """That of `plan`."""
        base = None if plan.keep_base else plan.base
        return cls(plan.reference, plan.digest, base, plan.track, plan.untrack, sighting)

    def to_json(self) -> dict[str, Any]:
        """The part that a journal keeps as JSON."""
        return {
            "reference": self.reference,
            "digest": str(self.digest),
            "track": list(self.track),
            "untrack": list(self.untrack),
        }

    def blobs(self) -> dict[str, bytes]:
        """The part that a journal keeps as it is."""
        found = {} if self.base is None else {"base": at_to_bytes(At(None, None, self.base))}
        if self.sighting is not None:
            found["manifest"] = self.sighting.manifest
            if self.sighting.index is not None:
                found["index"] = self.sighting.index
        return found

    @classmethod
    def read(cls, value: Mapping[str, Any], blobs: Mapping[str, bytes]) -> Self:
        """Read what `to_json` and `blobs` made.

        :raises Corrupt: anything else.
        """
        reference, track, untrack = value.get("reference"), value.get("track"), value.get("untrack")
        if not (isinstance(reference, str) and isinstance(track, list) and isinstance(untrack, list)):
            raise Corrupt("its record cannot be read")
        manifest = blobs.get("manifest")
        return cls(
            reference,
            Digest.parse(value.get("digest", "")),
            at_from_bytes(blobs["base"]).snapshot if "base" in blobs else None,
            tuple(track),
            tuple(untrack),
            None if manifest is None else Sighting(reference, manifest, blobs.get("index")),
        )


def record(session: Session, commit: Commit, left: Sequence[Step]) -> None:
    """Move the merge base, the list of tracked paths and, when nothing is left, the lease."""
    project, reference, base = session.project, commit.reference, commit.base
    # A difference, not a list: what was added since the plan was made stays.
    project.write_tracked((project.tracked() | set(commit.track)) - set(commit.untrack))
    if base is None:
        return
    if left:
        base = base.replaced({step.path: step.before for step in left})
    settled = commit.sighting is not None and not left
    project.write_at(At(reference, commit.digest if settled else None, base))
    if settled and commit.sighting is not None:
        session.seen.put(commit.sighting)
        session.seen.forget_pushed(reference)
    project.log("pull", reference, commit.digest)
