"""One walk over the directory: the state of every tracked path, and what else is there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from modelops_bundle.disk.hashing import Hashed, Watch, hash_files
from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import DiskError, UnsafePath, WorkspaceChanged
from modelops_bundle.events import Run
from modelops_bundle.model import paths
from modelops_bundle.model.paths import RESERVED_DIRECTORIES, TEMPORARY_PREFIX
from modelops_bundle.model.roles import role_of
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.workspace.glance import Glance
from modelops_bundle.workspace.index import Index

if TYPE_CHECKING:
    # Commands that only look at tracked paths come without.
    from modelops_bundle.workspace.ignore import Ignore, Rule

Leave = Callable[[int], bool]
"""Whether the digest of a file of so many bytes may be left open."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something on the disk: a kind, or `special` for what no bundle can hold (FIFO, socket, device)."""

    kind: str
    key: StatKey
    executable: bool = False
    target: str | None = None
    mode: int = 0
    """As the stat gave it, for the digest cache."""


@dataclass(slots=True)
class Walk:
    """What a walk found, before any content is read."""

    tracked: dict[str, Found] = field(default_factory=dict)
    untracked: dict[str, Found] = field(default_factory=dict)
    """Files, links and empty directories that are neither tracked nor ignored."""
    ignored: dict[str, Rule] = field(default_factory=dict)
    """Ignored files and directories (not what is below an ignored directory)."""


def found(facts: os.stat_result, read_link: Callable[[], str]) -> Found:
    """Classify what `facts` (an lstat) describe."""
    key = StatKey.of(facts)
    mode = facts.st_mode
    if stat.S_ISREG(mode):
        return Found("file", key, bool(mode & stat.S_IXUSR), mode=mode)
    if stat.S_ISLNK(mode):
        return Found("link", key, target=read_link(), mode=mode)
    return Found("dir" if stat.S_ISDIR(mode) else "special", key, mode=mode)


class Walker:
    """Walks below `root`; directories that hold nothing wanted are not entered.

    Without `ignore` only tracked paths are looked at. `follow` are tracked links that stand for their target.
    `glance` knows more tracked paths, and which of them are as they were: nothing is made for those.
    """

    def __init__(
        self,
        root: Path,
        tracked: Collection[str],
        ignore: Ignore | None,
        *,
        want_ignored: bool = False,
        follow: Collection[str] = (),
        glance: Glance | None = None,
    ) -> None:
        self._root = str(root)
        self._tracked = tracked if isinstance(tracked, (set, frozenset)) else set(tracked)
        self._above = directories_above(self._tracked)
        self._glance = glance
        self._ignore = ignore
        self._want_ignored = want_ignored
        self._follow = follow
        self._walk = Walk()
        self._pending: list[tuple[str, str, Ignore | None]] = []

    def walk(self, start: str = "") -> Walk:
        """Everything below `start` (a directory; `""` is the root).

        :raises DiskError: a directory cannot be read.
        """
        self._walk = Walk()
        native = os.path.join(self._root, start) if start else self._root
        with translated("read the directory"):
            self._pending.append((start, native, self._ignore))
            explicit = True
            while self._pending:
                # A list, not recursion: somebody's tree may be deeper than Python's stack.
                self._directory(*self._pending.pop(), explicit=explicit)
                explicit = False
        return self._walk

    def _directory(self, directory: str, native: str, ignore: Ignore | None, *, explicit: bool) -> None:
        prefix = f"{directory}/" if directory else ""
        if self._glance is not None and self._glance.same(directory, native):
            for name in self._glance.inner(directory):
                self._pending.append((prefix + name, f"{native}/{name}", ignore))
            return
        anything = False
        listed: list[tuple[str, os.DirEntry[str]]] = []
        try:
            entries = os.scandir(native)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                name = entry.name
                if name.startswith(TEMPORARY_PREFIX):
                    continue
                anything = True
                if name not in RESERVED_DIRECTORIES:
                    listed.append((prefix + (name if name.isascii() else normalize("NFC", name)), entry))
        if self._glance is not None:
            enter, listed = self._glance.confirm(directory, listed)
            self._pending += [(path, entry.path, ignore) for path, entry in enter]
        for path, entry in listed:
            self._entry(path, entry, ignore)
        if not anything and not explicit and not self._is_tracked(directory) and ignore is not None:
            self._note_empty(directory, native, ignore)

    def _is_tracked(self, path: str) -> bool:
        return path in self._tracked or (self._glance is not None and self._glance.knows(path))

    def _note_empty(self, directory: str, native: str, ignore: Ignore) -> None:
        # Ignored ones are entered for the sake of tracked paths that were in them.
        if ignore.match(directory, True) is None:
            with suppress(FileNotFoundError):
                self._walk.untracked[directory] = Found("dir", StatKey.of(os.lstat(native)))

    def _entry(self, path: str, entry: os.DirEntry[str], ignore: Ignore | None) -> None:
        is_dir = entry.is_dir(follow_symlinks=False)
        if self._is_tracked(path):
            self._note(self._walk.tracked, path, entry)
            if is_dir:
                self._pending.append((path, entry.path, ignore))
            return
        if ignore is not None:
            rule = ignore.match(path, is_dir)
            if rule is None:
                if is_dir:
                    self._pending.append((path, entry.path, ignore))
                else:
                    self._note(self._walk.untracked, path, entry)
                return
            if self._want_ignored:
                self._walk.ignored[path] = rule
        if is_dir and (path in self._above or (self._glance is not None and self._glance.is_above(path))):
            # Tracked wins over ignored: only the tracked paths below are of interest.
            self._pending.append((path, entry.path, None))

    def _note(self, into: dict[str, Found], path: str, entry: os.DirEntry[str]) -> None:
        try:
            facts = entry.stat(follow_symlinks=path in self._follow)
            into[path] = found(facts, lambda: os.readlink(entry.path))
        except FileNotFoundError:
            # Gone since the directory was read, or a followed link to nothing: absent.
            return


def directories_above(tracked: Iterable[str]) -> set[str]:
    """Every directory that one of `tracked` is in, at any depth; not the root."""
    above: set[str] = set()
    for path in tracked:
        parent = path.rpartition("/")[0]
        while parent and parent not in above:
            above.add(parent)
            parent = parent.rpartition("/")[0]
    return above


def look(tree: Tree, wanted: Iterable[str]) -> dict[str, Found]:
    """What is at each of `wanted`, following no link; absent paths are left out."""
    result: dict[str, Found] = {}
    with tree.keeping():
        for path in wanted:
            facts = tree.lstat(path)
            if facts is not None:
                result[path] = found(facts, partial(tree.read_link, path))
    return result


class Digester:
    """Turns what was found into snapshot entries, reading only what the digest cache cannot answer.

    :param watch: who wants to see the bytes of files that are hashed.
    """

    def __init__(
        self,
        tree: Tree,
        index: Index,
        run: Run,
        roles: Mapping[str, list[str]] | None = None,
        *,
        strict: bool,
        leave: Leave | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._tree = tree
        self._index = index
        self._run = run
        self._roles = roles
        self._strict = strict
        self._leave = leave
        self._watch = watch
        self.open: set[str] = set()
        """Files whose digest was left open: their entries have a stand-in."""
        self.keys: dict[str, StatKey] = {}
        """The stat key of each file entry at the moment its digest held."""

    def snapshot(self, items: Mapping[str, Found], keep: Collection[str] | None = None) -> Snapshot:
        """The entries of `items`, and the cache saved.

        :param keep: paths whose cache rows are to be kept; None keeps all.
        """
        entries = self.entries(items)
        self.save(keep)
        return Snapshot(entries)

    def entries(self, items: Mapping[str, Found]) -> dict[str, Entry]:
        """The entries of `items`.

        Directories count only as empty ones: one with another of `items` below it is implied by that.
        A path that vanished while we looked is absent.
        """
        above = directories_above(items)
        entries: dict[str, Entry] = {}
        unknown: list[tuple[str, int]] = []
        for path, item in items.items():
            if item.kind == "file":
                digest = self._index.get(path, item.key, strict=self._strict)
                if digest is None:
                    unknown.append((path, item.key.size))
                    continue
                self.keys[path] = item.key
                entries[path] = Entry("file", digest, item.key.size, item.executable, role_of(path, self._roles))
            elif item.kind == "link":
                entries[path] = Entry.link(item.target or "")
            elif item.kind == "dir" and path not in above:
                entries[path] = Entry.directory()
        self._hash(unknown, items, entries)
        return entries

    def save(self, keep: Collection[str] | None = None) -> None:
        """Save the cache.

        :param keep: paths whose rows are to be kept; None keeps all.
        """
        try:
            self._index.save(keep)
        except DiskError:
            # Looking must work where writing does not (a read-only mount); only the next look is slower.
            if self._strict:
                raise

    def _hash(self, unknown: list[tuple[str, int]], items: Mapping[str, Found], entries: dict[str, Entry]) -> None:
        unknown = [(path, size) for path, size in unknown if not self._left_open(path, items[path], entries)]
        if not unknown:
            return

        def each(path: str, hashed: Hashed) -> None:
            self._index.put(path, hashed)
            self.keys[path] = hashed.key
            entries[path] = Entry(
                "file", hashed.digest, hashed.key.size, items[path].executable, role_of(path, self._roles)
            )

        hash_files(self._tree, unknown, self._run, each, self._watch)
        gone = [path for path, _ in unknown if path not in entries]
        if gone and self._strict:
            # Taking it for deleted would delete it elsewhere too.
            raise WorkspaceChanged(
                f"vanished while the tree was read: {', '.join(paths.display(path) for path in gone[:10])}",
                hint="run the command again",
                paths=gone,
            )

    def _left_open(self, path: str, item: Found, entries: dict[str, Entry]) -> bool:
        # Executables travel in packs, whose index needs every digest.
        if self._leave is None or item.executable or not self._leave(item.key.size):
            return False
        from modelops_bundle.plan.push import stand_in  # noqa: PLC0415  (pushes only)

        self.open.add(path)
        self.keys[path] = item.key
        entries[path] = Entry(
            "file", stand_in(path, item.key), item.key.size, item.executable, role_of(path, self._roles)
        )
        return True


def refuse_special(items: Mapping[str, Found]) -> None:
    """:raises UnsafePath: one of `items` is a FIFO, socket or device."""
    for path, item in items.items():
        if item.kind == "special":
            raise UnsafePath(
                f"{paths.display(path)} is a FIFO, socket or device; a bundle holds files, links and directories",
                path=paths.display(path),
            )
