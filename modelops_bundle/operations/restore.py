"""restore: put files back to the version the tree was last synced with, or to another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from modelops_bundle.errors import NotFound
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import policy, remote_state
from modelops_bundle.operations.local_state import entries_at, obstacles
from modelops_bundle.operations.pull import apply_pull
from modelops_bundle.operations.recover import recover
from modelops_bundle.operations.remote_state import Remote
from modelops_bundle.operations.select import require_all
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.pull import PullPlan, Step, needs_bytes
from modelops_bundle.workspace.project import At

_ANY = "application/octet-stream"


def plan_restore(session: Session, words: Sequence[str], source: str | None = None) -> PullPlan:
    """Decide what is put back.

    The merge base does not move: a path restored from elsewhere is a local change.

    :raises NoMatch: a word names no path of that version.
    """
    with session.project.locked():
        recover(session)
    at = session.project.at()
    if source is None:
        if at.reference is None:
            raise NotFound("this tree was never synced, so there is nothing to restore from", hint="bundle pull")
        reference, wanted = parse(at.reference), at.snapshot
        sighting = session.seen.get(at.reference)
        digest = at.digest or (sighting.digest if sighting else None)
        places = {}
    else:
        remote = remote_state.require(session, session.reference(source))
        policy.require(session, remote.reference, remote.digest)
        reference, wanted, digest = remote.reference, remote.contents.snapshot, remote.digest
        places = dict(remote.contents.places)
    chosen = require_all(session, words, wanted.keys(), "path of that version")
    now = entries_at(session, chosen)
    steps = tuple(Step(path, now.get(path), wanted[path]) for path in chosen if now.get(path) != wanted[path])
    if source is None:
        places = _places(session, reference, at, {step.path for step in steps if needs_bytes(step)})
    return _plan(session, reference, digest or wanted.content, steps, places, at.snapshot)


def _places(session: Session, reference: Reference, at: At, needed: Set[str]) -> dict[str, Place]:
    """Where the content of `needed` paths of the merge base is: in a version this tree was synced with, else, as far as
    anybody knows, in a blob each.
    """
    base = at.snapshot
    places = {path: Place(Descriptor(_ANY, base[path].digest, base[path].size)) for path in needed}
    for remote in _versions(session, reference, at) if needed else ():
        contents = remote.contents
        found = {path for path in needed if contents.snapshot.get(path) == base[path]}
        places.update((path, contents.places[path]) for path in found)
        needed = needed - found
        if not needed:
            break
    return places


def _versions(session: Session, reference: Reference, at: At) -> Iterator[Remote]:
    """The versions the merge base is from: one, or two while a merge is not settled."""
    sighting = session.seen.get(remote_state.key(reference))
    if sighting is not None and at.digest in (None, sighting.digest):
        yield remote_state.from_sighting(session, reference, sighting)
    if at.digest is not None:
        yield remote_state.require(session, reference.at(None, at.digest))
        return
    pulls = (row["digest"] for row in reversed(session.project.history()) if row.get("reference") == at.reference)
    merged = next((digest for digest in pulls if isinstance(digest, str)), None)
    if merged is not None:
        yield remote_state.require(session, reference.at(None, Digest.parse(merged)))


def _plan(
    session: Session,
    reference: Reference,
    digest: Digest,
    steps: tuple[Step, ...],
    places: dict[str, Place],
    base: Snapshot,
) -> PullPlan:
    going = {step.path: step.after for step in steps if step.after is not None}
    present = {step.path: step.before for step in steps if step.before is not None}
    blocked = obstacles(session, going, present)
    return PullPlan(
        remote_state.key(reference),
        digest,
        steps,
        base,
        tuple(sorted(going)),
        (),
        (),
        tuple(sorted({path for blocking in blocked.values() for path in blocking})),
        (),
        (),
        tuple(path for path, entry in present.items() if base.get(path) != entry),
        {step.path: places[step.path] for step in steps if needs_bytes(step)},
        complete=False,
        keep_base=True,
    )


def apply_restore(session: Session, plan: PullPlan) -> int:
    """Carry it out; returns the number of paths put back."""
    return apply_pull(session, plan).written
