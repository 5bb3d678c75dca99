"""rm: stop tracking paths; the next push leaves them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelops_bundle.disk.tree import Tree
from modelops_bundle.operations.local_state import entries_at
from modelops_bundle.operations.recover import recover
from modelops_bundle.operations.select import require_all
from modelops_bundle.operations.session import Session


@dataclass(frozen=True, slots=True)
class Removal:
    """Paths to stop tracking, and those of them whose content on disk is in no version this clone knows."""

    paths: tuple[str, ...]
    unsaved: tuple[str, ...]
    delete: bool

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"removed": list(self.paths), "deleted": self.delete, "unsaved": list(self.unsaved)}


def plan_remove(session: Session, words: Sequence[str], *, delete: bool = False) -> Removal:
    """Decide what goes.

    :raises NoMatch: a word names no tracked path.
    """
    found = require_all(session, words, session.project.tracked(), "tracked path")
    unsaved: list[str] = []
    if delete:
        base = session.project.at().snapshot
        unsaved = [path for path, entry in entries_at(session, found).items() if base.get(path) != entry]
    return Removal(tuple(found), tuple(unsaved), delete)


def apply_remove(session: Session, removal: Removal) -> None:
    """Stop tracking, and delete the files when that was asked for."""
    project = session.project
    with project.locked():
        recover(session)
        # Files first: killed in between, the same command finds the paths still tracked and goes on.
        if removal.delete:
            tree: Tree = session.tree
            for path in sorted(removal.paths, key=lambda p: -p.count("/")):
                tree.remove(path)
        project.write_tracked(project.tracked() - set(removal.paths))
