"""Finishing what a killed command had decided on (DESIGN §5: roll forward)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from modelops_bundle.errors import Corrupt, Locked, UnsafePath
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations.local_state import entries_at, keys_at
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.pull import PullPlan, Step
from modelops_bundle.transfer import land
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.project import At
from modelops_bundle.workspace.seen import Sighting


def journal_of(session: Session) -> Path:
    """The journal of the one landing that may be under way."""
    return session.project.folder / layout.JOURNAL / "landing.json"


def recover(session: Session) -> None:
    """Carry out a landing that a killed command left. Call with the lock held.

    Paths somebody changed since then stay as they are, and stay conflicts.
    """
    journal = journal_of(session)
    session.project.sweep()
    try:
        intent = land.read_intent(journal)
        if intent is not None:
            check_commit(intent.commit)
    except (Corrupt, UnsafePath) as error:
        # It was written whole, so this is damage; nothing can be finished by it, and it must not stop everything.
        journal.replace(journal.with_suffix(".bad"))
        session.run.notice(
            "journal-damaged", f"an interrupted change cannot be finished ({error.message}): bundle status"
        )
        return
    if intent is None:
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
    record(session, intent.commit, left)
    land.forget_intent(journal)
    staging.clear()
    session.run.notice("recovered", "finished what an interrupted command had begun")


def recover_if_free(session: Session) -> None:
    """`recover` for commands that only read: not while somebody else is writing."""
    if not journal_of(session).exists():
        return
    try:
        with session.project.locked(wait=0):
            recover(session)
    except Locked:
        session.run.notice("busy", "another command is changing this tree just now")


def commit_of(plan: PullPlan, sighting: Sighting | None) -> dict[str, Any]:
    """What to record once the steps are done, as JSON: a killed command's successor records it."""
    return {
        "reference": plan.reference,
        "digest": str(plan.digest),
        "base": None if plan.keep_base else plan.base.to_json(),
        "track": list(plan.track),
        "untrack": list(plan.untrack),
        "manifest": sighting.manifest.decode() if sighting else None,
        "index": sighting.index.decode() if sighting and sighting.index is not None else None,
    }


def check_commit(commit: Mapping[str, Any]) -> None:
    """:raises Corrupt: not what `commit_of` makes."""
    lists = all(isinstance(commit.get(key), list) for key in ("track", "untrack"))
    texts = isinstance(commit.get("reference"), str) and isinstance(commit.get("digest"), str)
    optional = all(isinstance(commit.get(key), str | None) for key in ("manifest", "index"))
    if not (lists and texts and optional and isinstance(commit.get("base"), dict | None)):
        raise Corrupt("its record cannot be read")


def record(session: Session, commit: Mapping[str, Any], left: Sequence[Step], known: Snapshot | None = None) -> None:
    """Move the merge base, the list of tracked paths and, when nothing is left, the lease.

    :param known: the merge base that `commit` tells, when it need not be read from there.
    """
    project, reference = session.project, commit["reference"]
    # A difference, not a list: what was added since the plan was made stays.
    project.write_tracked((project.tracked() | set(commit["track"])) - set(commit["untrack"]))
    if commit["base"] is None:
        return
    base = Snapshot.from_json(commit["base"]) if known is None else known
    if left:
        base = base.replaced({step.path: step.before for step in left})
    settled = commit["manifest"] is not None and not left
    project.write_at(At(reference, Digest.parse(commit["digest"]) if settled else None, base))
    if settled:
        index = commit["index"]
        sighting = Sighting(reference, commit["manifest"].encode(), index.encode() if index is not None else None)
        session.seen.put(sighting)
        session.seen.forget_pushed(reference)
    project.log("pull", reference, Digest.parse(commit["digest"]))
