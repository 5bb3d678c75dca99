"""The working tree as it is now, against what the digest cache knows: columns, and objects for what changed only."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from modelops_bundle.disk.hashing import Hashed, Watch
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.events import Run
from modelops_bundle.model.roles import role_of
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.workspace.columns import Columns, kind_of
from modelops_bundle.workspace.glance import Glance
from modelops_bundle.workspace.index import Index, Row
from modelops_bundle.workspace.scan import Digester, Leave, Walk, Walker, directories_above, refuse_special

if TYPE_CHECKING:
    from modelops_bundle.workspace.ignore import Ignore


class State:
    """What the tracked paths hold: the rows of `columns`, but for `changes` (None: the path is gone)."""

    def __init__(
        self,
        columns: Columns,
        changes: Mapping[str, Entry | None],
        role: Callable[[str], str],
        keys: Callable[[], Mapping[str, StatKey]],
    ) -> None:
        self.columns = columns
        self.changes = changes
        self._role = role
        self._keys = keys

    @cached_property
    def keys(self) -> Mapping[str, StatKey]:
        """The stat key of each file at the moment its digest held."""
        return self._keys()

    @cached_property
    def snapshot(self) -> Snapshot:
        """All entries."""
        known = self.columns.snapshot(self._role)
        return known.replaced(self.changes) if self.changes else known

    @property
    def size(self) -> int:
        """Bytes of all files."""
        size = self.columns.size if len(self.columns) else 0
        for path, entry in self.changes.items():
            row = self.columns.rows.get(path) if len(self.columns) else None
            before = None if row is None else self.columns.entry(row, "")
            size += _size(entry) - _size(before)
        return size

    def entry(self, path: str) -> Entry | None:
        """What is at `path`, None for nothing that is tracked."""
        if path in self.changes:
            return self.changes[path]
        row = self.columns.rows.get(path)
        return None if row is None else self.columns.entry(row, self._role(path))

    def against(self, base: Columns) -> tuple[dict[str, Entry], dict[str, Entry]]:
        """The entries of `base` and the ones here, at all paths where the two may differ."""
        paths = self.changes.keys() | self.columns.differing(base)
        old = {path: base.entry(base.rows[path]) for path in paths if path in base.rows}
        new = {path: entry for path in paths if (entry := self.entry(path)) is not None}
        return old, new


def _size(entry: Entry | None) -> int:
    return entry.size if entry is not None and entry.kind == "file" else 0


class Surveyor:
    """Looks at a tree; `roles` and `follow` are the bundle's settings.

    :param strict: something will be written on the strength of what is found.
    :param leave: which digests may be left open.
    :param watch: who wants to see the bytes of files that are hashed.
    """

    def __init__(
        self,
        tree: Tree,
        index: Index,
        run: Run,
        *,
        roles: Mapping[str, list[str]] | None = None,
        follow: frozenset[str] = frozenset(),
        strict: bool,
        leave: Leave | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._tree = tree
        self._index = index
        self._run = run
        self._roles = roles
        self._follow = follow
        self._digester = Digester(tree, index, run, roles, strict=strict, leave=leave, watch=watch)
        self._strict = strict
        self._tracked = b""
        self._glance: Glance | None = None

    @property
    def open(self) -> frozenset[str]:
        """Files whose digest was left open: their entries have a stand-in."""
        return frozenset(self._digester.open)

    def begin(self, tracked: bytes, *, want_ignored: bool = False) -> None:
        """Begin to look at the paths in `tracked` (one a line), in another process where that pays.

        :param want_ignored: ignored paths will be asked for; the quick way keeps no account of those.
        """
        self._tracked = tracked
        if not want_ignored and self._index.covers(tracked.replace(b"\n", b"\0"), strict=self._strict):
            self._glance = Glance(self._index, self._tree.root, self._follow)
            self._glance.begin()

    def survey(self, ignore: Ignore | None, *, want_ignored: bool = False) -> tuple[State, Walk]:
        """What the paths of `begin` hold, and what else `ignore` leaves.

        :raises UnsafePath: a tracked path is a FIFO, socket or device.
        :raises WorkspaceChanged: one vanished meanwhile, and somebody would take that for a deletion.
        """
        with no_collections():
            if self._glance is not None:
                found = self._quick(self._glance, self._tracked, ignore)
                if found is not None:
                    return found
            return self._slow(self._tracked, ignore, want_ignored)

    def _slow(self, tracked: bytes, ignore: Ignore | None, want_ignored: bool) -> tuple[State, Walk]:
        paths = frozenset(_lines(tracked))
        began = time.time_ns()
        walker = Walker(self._tree.root, paths, ignore, want_ignored=want_ignored, follow=self._follow)
        walk = walker.walk()
        return self._state(Columns(), self._resolved(walk, began, paths), dict), walk

    def _quick(self, glance: Glance, tracked: bytes, ignore: Ignore | None) -> tuple[State, Walk] | None:
        columns, keys = self._index.columns, self._index.keys()
        missing: frozenset[str] = frozenset()
        if tracked.replace(b"\n", b"\0") != columns.names:
            missing = frozenset(_lines(tracked)) - columns.rows.keys()
        began = time.time_ns()
        glance.look(self._run.check)
        if any(glance.is_above(path) for path in glance.empties) or not glance.empties.keys().isdisjoint(
            directories_above(missing)
        ):
            # Tracked as an empty directory and as one with content: somebody edited the list.
            return None
        walk = Walker(self._tree.root, missing, ignore, follow=self._follow, glance=glance).walk()
        if any(item.kind == "dir" and glance.is_above(path) for path, item in walk.tracked.items()):
            return None
        changes: dict[str, Entry | None] = {}
        if glance.confirmed.count(0):
            gone = (path for path, seen in zip(columns.paths, glance.confirmed, strict=True) if not seen)
            changes.update(dict.fromkeys(gone))
        changes.update(self._resolved(walk, began, None))
        return self._state(columns, changes, keys), walk

    def _state(
        self, columns: Columns, changes: Mapping[str, Entry | None], rows: Callable[[], dict[str, StatKey]]
    ) -> State:
        def keys() -> Mapping[str, StatKey]:
            known = rows()
            for path in changes:
                known.pop(path, None)
            known.update(self._digester.keys)
            return known

        return State(columns, changes, lambda path: role_of(path, self._roles), keys)

    def _resolved(self, walk: Walk, began: int, keep: frozenset[str] | None) -> dict[str, Entry]:
        """The entries of what was found, remembered in the cache for the next glance."""
        refuse_special(walk.tracked)
        entries = self._digester.entries(walk.tracked)
        for path, entry in entries.items():
            item = walk.tracked[path]
            if entry.kind == "file":
                self._index.describe(path, kind_of(entry), item.mode, item.key)
            else:
                # Of a directory its being there is all that counts.
                key = item.key if entry.kind == "link" else StatKey(0, 0, 0, 0, 0)
                hashed = Hashed(entry.digest, key, began)
                self._index.put_other(path, Row(hashed, kind_of(entry), item.mode, entry.target))
        self._digester.save(keep)
        return entries


def _lines(tracked: bytes) -> list[str]:
    return [line for line in tracked.decode("utf-8", "surrogateescape").split("\n") if line]


@contextmanager
def no_collections() -> Iterator[None]:
    """Objects come by the hundred thousand, and none of them in cycles: counting them is work for nothing."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
