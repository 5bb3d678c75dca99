"""Whether tracked paths are as they were, a directory at a time: listings and stats compared with rows of the cache.

Nothing is made for a path that did not change, and two processes share the work where there is much of it. What a
glance cannot confirm is nobody's loss: the walk looks at it as if there were no cache.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from mmap import mmap
from operator import attrgetter
from pathlib import Path

from modelops_bundle.workspace.columns import DIRECTORY, WIDTH, encoded
from modelops_bundle.workspace.index import STAMPS, Index, Runs

Listing = list[tuple[str, "os.DirEntry[str]"]]
"""What a directory holds: paths in normalization form C, and what the disk says."""
FORK_FROM = 30_000
"""Rows from which a second process pays (facts: performance §8; threads do not, the GIL is in their way)."""
_SAME, _DIFFERENT = 1, 2
_NAME: Callable[[os.DirEntry[str]], str] = attrgetter("name")
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_SEEN = tuple(stamp for stamp in STAMPS if stamp != "taken")


class Glance:
    """The rows of `index` against the tree at `root`.

    :param follow: links that stand for their target; they are looked at one by one.
    """

    def __init__(self, index: Index, root: Path, follow: Collection[str] = ()) -> None:
        self._index = index
        self._root = str(root)
        self._follow = frozenset(follow)
        self._odd = {path.rpartition("/")[0] for path in follow}
        columns = [("st_size", index.columns.sizes), *((stamp, index.stamps[stamp]) for stamp in _SEEN)]
        self._getters = [(attrgetter(name), column) for name, column in columns]
        self.table = index.table
        self.empties = {index.columns.paths[row]: row for row in index.columns.of_kind(DIRECTORY)}
        self._todo: list[str] | None = None
        self._told: bytearray | mmap = bytearray(len(self.table))
        self._helper = 0
        self._same: set[str] = set()
        self.confirmed = bytearray(len(index.columns))
        """One byte for each row: 1 for those found as they were."""
        self._known: set[str] = set()

    def begin(self) -> None:
        """Let another process begin where there is much to look at. `look` takes part, at any time later."""
        self._todo = [directory for directory in self.table if directory and directory not in self._odd]
        # A copy of this process must not wait for locks of threads that it does not have.
        if len(self.confirmed) < FORK_FROM or not hasattr(os, "fork") or threading.active_count() > 1:
            return
        self._told = mmap(-1, len(self._todo) or 1)
        try:
            self._helper = os.fork()
        except OSError:
            return
        if self._helper == 0:
            try:
                self._look(range(len(self._todo)), _never)
            finally:
                # Nothing of the parent may run here: no handlers, no flushing of what it has not written yet.
                os._exit(0)

    def look(self, check: Callable[[], None]) -> None:
        """Compare every directory; `check` is called between them, and may raise."""
        if self._todo is None:
            self.begin()
        todo = self._todo or []
        try:
            # From the other end: the two meet wherever they meet, and if one of them dies the other does it all.
            self._look(reversed(range(len(todo))), check)
        finally:
            if self._helper:
                os.waitpid(self._helper, 0)
                self._helper = 0
        self._same.update(directory for directory, told in zip(todo, self._told[:], strict=False) if told == _SAME)

    def _look(self, order: Iterable[int], check: Callable[[], None]) -> None:
        todo, told = self._todo or [], self._told
        for number in order:
            if told[number]:
                return
            check()
            told[number] = _SAME if self._is_same(todo[number]) else _DIFFERENT

    def _is_same(self, directory: str) -> bool:
        runs, inner = self.table[directory]
        try:
            if inner:
                return self._is_same_above(directory, runs, set(inner))
            # Where there are no directories in it, names relative to a handle are quicker than listed entries.
            handle = os.open(f"{self._root}/{directory}", _DIRECTORY)
            try:
                names = sorted(os.listdir(handle))
                return self._names_match(f"{directory}/", names, runs) and self._stamps_match(
                    [os.stat(name, dir_fd=handle, follow_symlinks=False) for name in names], runs
                )
            finally:
                os.close(handle)
        except (OSError, OverflowError):
            # What no column can hold is looked at one by one.
            return False

    def _is_same_above(self, directory: str, runs: Runs, inner: set[str]) -> bool:
        with os.scandir(f"{self._root}/{directory}") as found:
            entries = list(found)
        directories = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        if directories != inner:
            return False
        return self._match(f"{directory}/", [entry for entry in entries if entry.name not in directories], runs)

    def _match(self, prefix: str, entries: Sequence[os.DirEntry[str]], runs: Runs) -> bool:
        """Whether `entries` are what the rows say, no more and no less."""
        ordered = sorted(entries, key=_NAME)
        return self._names_match(prefix, [entry.name for entry in ordered], runs) and self._stamps_match(
            [entry.stat(follow_symlinks=False) for entry in ordered], runs
        )

    def _names_match(self, prefix: str, names: Sequence[str], runs: Runs) -> bool:
        column = self._index.columns.names
        return encoded([prefix + name for name in names]) == b"".join(column[run[2] : run[3]] for run in runs)

    def _stamps_match(self, facts: Sequence[os.stat_result], runs: Runs) -> bool:
        return all(
            array("q", list(map(getter, facts))).tobytes()
            == b"".join(column[run[0] * WIDTH : run[1] * WIDTH] for run in runs)
            for getter, column in self._getters
        )

    def same(self, directory: str, native: str) -> bool:
        """Whether `directory` holds tracked paths as they were, tracked directories (`inner`), and nothing else."""
        if directory not in self._same or native != f"{self._root}/{directory}":
            return False
        runs, inner = self.table[directory]
        for first, last, *_ in runs:
            self.confirmed[first:last] = b"\1" * (last - first)
        if self.empties:
            self._confirm_empty(f"{directory}/{name}" for name in inner)
        return True

    def _confirm_empty(self, paths: Iterable[str]) -> None:
        for path in paths:
            if path in self.empties:
                self.confirmed[self.empties[path]] = 1

    def inner(self, directory: str) -> list[str]:
        """Names of the directories in `directory` that the cache knows."""
        return self.table[directory][1]

    def confirm(self, directory: str, listed: Listing) -> tuple[Listing, Listing]:
        """Of what is in `directory`: tracked directories to enter, and what has to be looked at. The rest is as it was."""
        runs = self.table.get(directory, ([], []))[0]
        prefix = f"{directory}/" if directory else ""
        rows: dict[str, int] = {}
        for first, last, start, end in runs:
            texts = self._index.columns.names[start:end].decode("utf-8", "surrogateescape").split("\0")
            rows.update(zip(texts, range(first, last), strict=False))
        self._known.update(rows)
        mine = [entry for path, entry in listed if path in rows]
        whole = directory not in self._odd and self._matches(prefix, mine, runs)
        # Two spellings of one path: which of them counts is the walk's decision.
        twins = len({path for path, _ in listed}) < len(listed)
        enter: Listing = []
        left: Listing = []
        for path, entry in listed:
            if twins:
                left.append((path, entry))
            elif path in self.empties and entry.is_dir(follow_symlinks=False):
                self._confirm_empty([path])
                enter.append((path, entry))
            elif path in rows and (whole or self._is_as_it_was(path, entry, rows[path])):
                self.confirmed[rows[path]] = 1
            else:
                left.append((path, entry))
        return enter, left

    def _matches(self, prefix: str, entries: Sequence[os.DirEntry[str]], runs: Runs) -> bool:
        try:
            return self._match(prefix, entries, runs)
        except (OSError, OverflowError):
            # What no column can hold is looked at one by one.
            return False

    def _is_as_it_was(self, path: str, entry: os.DirEntry[str], row: int) -> bool:
        try:
            facts = entry.stat(follow_symlinks=path in self._follow)
        except OSError:
            return False
        columns = self._index.columns
        return facts.st_size == columns.length(row) and all(
            getattr(facts, stamp) == self._index.number(stamp, row) for stamp in _SEEN
        )

    def knows(self, path: str) -> bool:
        """Whether `path`, in a directory that was just listed, has a row."""
        return path in self._known or path in self.empties

    def is_above(self, path: str) -> bool:
        """Whether rows lie below `path`."""
        runs, inner = self.table.get(path, ((), ()))
        return bool(runs or inner)


def _never() -> None:
    """No check."""
