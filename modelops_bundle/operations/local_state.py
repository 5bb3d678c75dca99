"""What is on disk: one walk, the digest cache, and hashing only of what changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.tree import StatKey
from modelops_bundle.events import Started
from modelops_bundle.model.paths import parents
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace.ignore import Ignore, Rule
from modelops_bundle.workspace.scan import Digester, Found, Walker, look, refuse_special


@dataclass(frozen=True, slots=True)
class Local:
    """The working tree: entries and stat keys of the tracked paths, and what else was asked for."""

    tracked: frozenset[str]
    here: Snapshot
    keys: Mapping[str, tuple[int, ...]]
    untracked: Mapping[str, Found] = field(default_factory=dict)
    ignored: Mapping[str, Rule] = field(default_factory=dict)

    @property
    def gone(self) -> tuple[str, ...]:
        """Tracked paths that are no longer on disk."""
        return tuple(sorted(self.tracked - self.here.keys()))


def local(session: Session, *, strict: bool, untracked: bool = False, ignored: bool = False) -> Local:
    """Scan the tracked paths, in one walk together with whatever else is wanted.

    :param strict: something will be written on the strength of it.
    :raises UnsafePath: a tracked path is a FIFO, socket or device.
    """
    project, run = session.project, session.run
    run.emit(Started("scan"))
    tracked = frozenset(project.tracked())
    ignore = session.ignore if untracked or ignored else None
    follow = project.config.follow_links()
    walk = Walker(project.root, tracked, ignore, want_ignored=ignored, follow=follow).walk()
    refuse_special(walk.tracked)
    digester = _digester(session, strict=strict)
    here = digester.snapshot(walk.tracked, keep=tracked)
    return Local(tracked, here, digester.keys, walk.untracked, walk.ignored)


def _digester(session: Session, *, strict: bool) -> Digester:
    return Digester(session.tree, session.index, session.run, session.project.config.roles(), strict=strict)


def entries_at(session: Session, paths: Iterable[str]) -> Snapshot:
    """The entries on disk at `paths`, tracked or not."""
    found = look(session.tree, paths)
    refuse_special(found)
    return _digester(session, strict=True).snapshot(found)


def keys_at(session: Session, paths: Iterable[str]) -> dict[str, StatKey]:
    """The stat keys on disk at `paths`; nothing is read."""
    return {path: item.key for path, item in look(session.tree, paths).items()}


def obstacles(session: Session, there: Mapping[str, Entry], here: Mapping[str, Entry]) -> dict[str, set[str]]:
    """Per path of `there` that is not here in the same kind: what on disk would have to go for it to exist."""
    found: dict[str, set[str]] = {}
    checked: dict[str, bool] = {}
    with session.tree.keeping():
        for path, entry in there.items():
            known = here.get(path)
            if known is not None and known.kind == entry.kind:
                continue
            blocking = {parent for parent in parents(path) if _is_file(session, parent, checked)}
            if entry.kind != "dir":
                blocking |= _content_of(session, path)
            if blocking:
                found[path] = blocking
    return found


def _is_file(session: Session, path: str, checked: dict[str, bool]) -> bool:
    if path not in checked:
        at = look(session.tree, [path]).get(path)
        checked[path] = at is not None and at.kind != "dir"
    return checked[path]


def _content_of(session: Session, path: str) -> set[str]:
    """Everything below `path` that is no directory, and every empty directory, when `path` is a directory."""
    facts = session.tree.lstat(path)
    if facts is None or not stat.S_ISDIR(facts.st_mode):
        return set()
    root = session.project.root
    found: set[str] = set()
    with translated(f"read {path}"):
        for directory, inner, files in os.walk(root / path, followlinks=False):
            prefix = os.path.relpath(directory, root).replace(os.sep, "/")
            found.update(f"{prefix}/{name}" for name in files)
            found.update(f"{prefix}/{name}" for name in inner if (Path(directory) / name).is_symlink())
            if not inner and not files and prefix != path:
                found.add(prefix)
    return found


def nothing_ignored() -> Ignore:
    """Rules for `add --force`: only what can never be added stays out."""
    return Ignore(lambda _path: None, defaults=False, extra=("/.modelops-bundle", ".git"))
