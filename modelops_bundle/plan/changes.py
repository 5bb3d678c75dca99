"""Three-way comparison: the merge base, here and there (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from modelops_bundle.model.snapshot import Entry


class Side(StrEnum):
    """Who changed a path since the merge base."""

    NOBODY = "unchanged"
    HERE = "local"
    THERE = "remote"
    BOTH_SAME = "same"
    CONFLICT = "conflict"


class Action(StrEnum):
    """What a change does to a path, seen from the old side to the new one."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    MODE = "mode"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Change:
    """One path with its entry in the base, here and there (None: not in it)."""

    path: str
    base: Entry | None
    here: Entry | None
    there: Entry | None

    @property
    def side(self) -> Side:
        """Who changed it."""
        if self.here == self.there:
            return Side.NOBODY if self.here == self.base else Side.BOTH_SAME
        if self.here == self.base:
            return Side.THERE
        if self.there == self.base:
            return Side.HERE
        return Side.CONFLICT

    @property
    def local(self) -> Action:
        """What was done here."""
        return action(self.base, self.here)

    @property
    def remote(self) -> Action:
        """What was done there."""
        return action(self.base, self.there)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "path": self.path,
            "change": str(self.side),
            "local": str(self.local),
            "remote": str(self.remote),
            "base": _entry(self.base),
            "here": _entry(self.here),
            "there": _entry(self.there),
        }


def _entry(entry: Entry | None) -> dict[str, Any] | None:
    return None if entry is None else entry.to_json()


def action(old: Entry | None, new: Entry | None) -> Action:
    """What turns `old` into `new`."""
    if old == new:
        return Action.NONE
    if old is None:
        return Action.ADDED
    if new is None:
        return Action.DELETED
    if (old.kind, old.digest, old.size) == (new.kind, new.digest, new.size):
        return Action.MODE
    return Action.MODIFIED


def compare(base: Mapping[str, Entry], here: Mapping[str, Entry], there: Mapping[str, Entry]) -> tuple[Change, ...]:
    """Every path of the three that is not the same in all of them, in path order."""
    changes = []
    for path in base.keys() | here.keys() | there.keys():
        old, mine, theirs = base.get(path), here.get(path), there.get(path)
        # Most paths of most trees are the same everywhere: nothing is made for them.
        if mine == old and (theirs is old or theirs == old):
            continue
        changes.append(Change(path, old, mine, theirs))
    return tuple(sorted(changes, key=lambda change: change.path))


def difference(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> tuple[Change, ...]:
    """What turns `old` into `new`, as changes made here."""
    return compare(old, new, old)


@dataclass(frozen=True, slots=True)
class Rename:
    """A deletion and an addition of equal content."""

    old: str
    new: str


def renames(changes: Iterable[Change]) -> tuple[Rename, ...]:
    """Pair deletions here with additions here of the same file content, each used once, in path order.

    Empty files and links are no evidence of a rename.
    """
    listed = [change for change in changes if change.side is Side.HERE]
    gone: dict[Any, list[str]] = {}
    for change in listed:
        if change.local is Action.DELETED and change.base and change.base.kind == "file" and change.base.size:
            gone.setdefault(change.base.digest, []).append(change.path)
    pairs = []
    for change in listed:
        here = change.here
        if change.local is Action.ADDED and here and here.kind == "file" and gone.get(here.digest):
            pairs.append(Rename(gone[here.digest].pop(0), change.path))
    return tuple(pairs)


def lost(
    pushed: Mapping[str, tuple[Collection[Entry | None], Entry | None]], there: Mapping[str, Entry]
) -> tuple[str, ...]:
    """Paths our pushes changed that are back at a value from before: overwritten by somebody who had not seen our
    push.

    :param pushed: per path its entries before each of our pushes that changed it, and after the last one.
    """
    return tuple(
        sorted(
            path for path, (befores, after) in pushed.items() if there.get(path) != after and there.get(path) in befores
        )
    )
