"""diff: what differs between the tree and a version, or between two versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelops_bundle.disk.tree import StatKey
from modelops_bundle.errors import NotFound
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import losses, remote_state
from modelops_bundle.operations.local_state import local
from modelops_bundle.operations.recover import recover_if_free
from modelops_bundle.operations.session import Session
from modelops_bundle.operations.status import ask
from modelops_bundle.plan.changes import Change, Rename, difference, renames


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared.

    :param name: for people. :param remote: the stored version; None for the tree, and for what it was last synced with.
    :param keys: the stat key of each file of the tree at the moment its digest held; None: it is a version.
    """

    name: str
    snapshot: Snapshot
    remote: remote_state.Remote | None = None
    keys: Mapping[str, StatKey] | None = field(default=None, repr=False)


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
    before, after = sides(session, old, new)
    return difference_of(before, after)


def difference_of(before: Side, after: Side) -> Diff:
    """What turns one side into the other."""
    changes = difference(before.snapshot, after.snapshot)
    return Diff(before.name, after.name, changes, renames(changes))


def sides(session: Session, old: str | None, new: str | None) -> tuple[Side, Side]:
    """What `diff` compares. :raises NotFound: a reference is absent."""
    if session.has_project:
        recover_if_free(session)
    if old is None:
        at = session.project.at()
        before = Side(at.reference or "(nothing)", at.snapshot)
    else:
        before = _version(session, old)
    if new is not None:
        return before, _version(session, new)
    here = local(session, strict=False)
    return before, Side("working tree", here.here, keys=here.keys)


def _version(session: Session, text: str) -> Side:
    reference = session.reference(text)
    remote = ask(session, reference)[0] if session.has_project else remote_state.look_up(session, reference)
    if remote is None:
        raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is")
    if session.has_project:
        losses.report(session, remote)
    return Side(str(reference), remote.contents.snapshot, remote)
