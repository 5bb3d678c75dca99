"""rm: stop tracking paths; the next push leaves them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import WorkspaceChanged
from modelops_bundle.model.paths import display
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
    return Removal(tuple(found), _unsaved(session, found) if delete else (), delete)


def _unsaved(session: Session, paths: Sequence[str]) -> tuple[str, ...]:
    base = session.project.at().snapshot
    return tuple(path for path, entry in entries_at(session, paths).items() if base.get(path) != entry)


def apply_remove(session: Session, removal: Removal) -> None:
    """Stop tracking, and delete the files when that was asked for.

    :raises WorkspaceChanged: a file to delete was edited since it was decided; nothing is done then.
    """
    project = session.project
    with project.locked():
        recover(session)
        edited = set(_unsaved(session, removal.paths) if removal.delete else ()) - set(removal.unsaved)
        if edited:
            raise WorkspaceChanged(
                f"edited just now: {', '.join(display(path) for path in sorted(edited)[:10])}",
                hint="nothing was deleted; run the command again",
                paths=sorted(edited),
            )
        # Files first: killed in between, the same command finds the paths still tracked and goes on.
        if removal.delete:
            tree: Tree = session.tree
            for path in sorted(removal.paths, key=lambda p: -p.count("/")):
                tree.remove(path)
        project.write_tracked(project.tracked() - set(removal.paths))
