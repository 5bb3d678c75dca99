"""diff: what differs between the tree and a version, or between two versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelops_bundle.errors import NotFound
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import losses, remote_state
from modelops_bundle.operations.local_state import local
from modelops_bundle.operations.recover import recover_if_free
from modelops_bundle.operations.session import Session
from modelops_bundle.operations.status import ask
from modelops_bundle.plan.changes import Change, Rename, difference, renames


@dataclass(frozen=True, slots=True)
class Diff:
    """What turns `old` into `new` (names for people)."""

    old: str
    new: str
    changes: tuple[Change, ...]
    renames: tuple[Rename, ...]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "from": self.old,
            "to": self.new,
            "changes": [
                {
                    "path": change.path,
                    "action": str(change.local),
                    "from": None if change.base is None else change.base.to_json(),
                    "to": None if change.here is None else change.here.to_json(),
                }
                for change in self.changes
            ],
            "renames": [{"from": rename.old, "to": rename.new} for rename in self.renames],
        }


def diff(session: Session, old: str | None = None, new: str | None = None) -> Diff:
    """Compare.

    :param old: a reference; None is the version this tree was last synced with, which needs no network.
    :param new: a reference; None is the working tree.
    :raises NotFound: a reference is absent.
    """
    if session.has_project:
        recover_if_free(session)
    if old is None:
        at = session.project.at()
        before, name = at.snapshot, at.reference or "(nothing)"
    else:
        before, name = _version(session, old)
    if new is None:
        after, other = local(session, strict=False).here, "working tree"
    else:
        after, other = _version(session, new)
    changes = difference(before, after)
    return Diff(name, other, changes, renames(changes))


def _version(session: Session, text: str) -> tuple[Snapshot, str]:
    reference = session.reference(text)
    remote = ask(session, reference)[0] if session.has_project else remote_state.look_up(session, reference)
    if remote is None:
        raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is")
    if session.has_project:
        losses.report(session, remote)
    return remote.contents.snapshot, str(reference)
