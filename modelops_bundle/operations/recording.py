"""What a clone remembers of a push: the lease, the merge base, the tracked paths, and what it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelops_bundle.events import checkpoint
from modelops_bundle.model.reference import parse
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace.project import At
from modelops_bundle.workspace.seen import Pushed, Sighting

if TYPE_CHECKING:
    from modelops_bundle.model.artifact import Artifact
    from modelops_bundle.plan.push import PushPlan


def record(session: Session, plan: PushPlan, made: Artifact) -> None:
    """The lease, the merge base and the list of tracked paths after a push, in an order that a kill may cut."""
    data = made.manifest.to_bytes()
    for move in plan.tags:
        key = remote_state.key(parse(plan.place).at(move.tag))
        _note_pushed(session, key, plan, adopted=move.found == made.digest)
        session.seen.put(Sighting(key, data, made.kept))
        checkpoint("lease recorded")
    first = remote_state.key(parse(plan.place).at(plan.tags[0].tag))
    session.project.write_at(At(first, made.digest, plan.snapshot, plan.recipe))
    checkpoint("base recorded")
    gone = set(plan.gone)
    session.project.write_tracked(path for path in session.project.tracked() if path not in gone)


def _note_pushed(session: Session, key: str, plan: PushPlan, *, adopted: bool) -> None:
    """Remember what this push changed, so that its loss can be told."""
    from modelops_bundle.plan.changes import difference

    digest = plan.artifact.digest
    known = session.seen.pushed(key)
    if known is not None and known.digest == digest:
        return
    # An adopted tag is a push that was killed after its last PUT: what it stood on is the merge base.
    before = session.project.at().snapshot if adopted else plan.base
    changes = {c.path: ((c.base,), c.here) for c in difference(before, plan.snapshot)}
    if changes:
        session.seen.put_pushed(key, Pushed(digest, changes))
