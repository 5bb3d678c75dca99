"""What is on disk: one walk, the digest cache, and hashing only of what changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.tree import StatKey
from modelops_bundle.events import Started
from modelops_bundle.model.paths import parents
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace.project import At
from modelops_bundle.workspace.scan import Digester, Found, Leave, Walk, look, refuse_special
from modelops_bundle.workspace.survey import State, Surveyor

if TYPE_CHECKING:
    from modelops_bundle.workspace.ignore import Ignore, Rule


class Local:
    """The working tree: what the tracked paths hold, and what else was asked for. Objects are made when asked for."""

    def __init__(self, lines: bytes, state: State, walk: Walk, opened: frozenset[str]) -> None:
        self._lines = lines
        self.state = state
        self.open = opened
        """Files whose digest was left open: their entries have a stand-in."""
        self.untracked: Mapping[str, Found] = walk.untracked
        self.ignored: Mapping[str, Rule] = walk.ignored

    @cached_property
    def tracked(self) -> frozenset[str]:
        """The tracked paths, on disk or not."""
        return frozenset(line for line in self._lines.decode("utf-8", "surrogateescape").split("\n") if line)

    @property
    def count(self) -> int:
        """How many paths are tracked."""
        return len(self.state.columns) if self._all_known else len(self.tracked)

    @property
    def _all_known(self) -> bool:
        return self._lines.replace(b"\n", b"\0") == self.state.columns.names

    @property
    def here(self) -> Snapshot:
        """The entries of the tracked paths that are on disk."""
        return self.state.snapshot

    @property
    def keys(self) -> Mapping[str, StatKey]:
        """The stat key of each file at the moment its digest held."""
        return self.state.keys

    @property
    def gone(self) -> tuple[str, ...]:
        """Tracked paths that are no longer on disk."""
        if not self.state.changes and self._all_known:
            return ()
        return tuple(sorted(self.tracked - self.here.keys()))

    def is_at(self, base: At) -> bool:
        """Whether every tracked path is as it was when the tree was last synced."""
        old, new = self.state.against(base.columns)
        return old == new


class Scan:
    """A look at the working tree that goes on beside other work until `finish` is called.

    :param strict: something will be written on the strength of it.
    :param leave: which digests may be left open.
    """

    def __init__(
        self,
        session: Session,
        *,
        strict: bool,
        untracked: bool = False,
        ignored: bool = False,
        leave: Leave | None = None,
    ) -> None:
        project, run = session.project, session.run
        run.emit(Started("scan"))
        self._session = session
        self._ignored = ignored
        self._look_around = untracked or ignored
        self._lines = project.tracked_lines()
        self._surveyor = Surveyor(
            session.tree,
            session.index,
            run,
            roles=project.config.roles(),
            follow=project.config.follow_links(),
            strict=strict,
            leave=leave,
            watch=session.watch,
        )
        self._surveyor.begin(self._lines, want_ignored=ignored)

    def finish(self) -> Local:
        """The state of the tracked paths, and whatever else is wanted.

        :raises UnsafePath: a tracked path is a FIFO, socket or device.
        """
        ignore = self._session.ignore if self._look_around else None
        state, walk = self._surveyor.survey(ignore, want_ignored=self._ignored)
        return Local(self._lines, state, walk, self._surveyor.open)


def local(session: Session, *, strict: bool, untracked: bool = False, ignored: bool = False) -> Local:
    """Scan the tracked paths, in one walk together with whatever else is wanted; see `Scan`."""
    return Scan(session, strict=strict, untracked=untracked, ignored=ignored).finish()


def _digester(session: Session, *, strict: bool) -> Digester:
    roles = session.project.config.roles()
    return Digester(session.tree, session.index, session.run, roles, strict=strict, watch=session.watch)


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
    from modelops_bundle.workspace.ignore import Ignore

    return Ignore(lambda _path: None, defaults=False, extra=("/.modelops-bundle", ".git"))
