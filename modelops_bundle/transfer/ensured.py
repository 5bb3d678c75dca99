"""What `ensure` wrote into a directory: the record of it, and how the directory compares with that now.

The record lies in the directory, so that it is switched in and out with it, under a name that no version can have
(`model.paths` reserves it): it is never pulled and never pushed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelops_bundle.disk.files import read_file, write_file
from modelops_bundle.disk.filesystems import tick_of
from modelops_bundle.disk.hashing import Hashed, hash_files
from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import Corrupt, UnsafePath
from modelops_bundle.events import Run
from modelops_bundle.model import canonical
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import RESERVED_DIRECTORIES, parents, validate_tree
from modelops_bundle.model.snapshot import Entry, Snapshot

FOLDER = RESERVED_DIRECTORIES[1]
FILE = "ensured.json"
_VERSION = 1
_LIMIT = 1 << 28
_GIT = RESERVED_DIRECTORIES[0]

Version = tuple[str, Digest]
"""A reference, and what it stood for."""


@dataclass(frozen=True, slots=True)
class Record:
    """A version in a directory.

    :param keys: the stat key of each file when it had been written.
    :param taken_ns: the wall clock then.
    :param linked: files are hard links into the cache, or copies as read-only as these.
    :param previous: what was there before.
    """

    reference: str
    digest: Digest
    entries: Snapshot
    keys: Mapping[str, StatKey]
    taken_ns: int
    linked: bool = False
    previous: Version | None = None

    def to_bytes(self) -> bytes:
        """The bytes of the file."""
        value = {
            "version": _VERSION,
            "reference": self.reference,
            "digest": str(self.digest),
            "entries": self.entries.to_json(),
            "keys": {path: list(key) for path, key in self.keys.items()},
            "taken": self.taken_ns,
            "linked": self.linked,
            "previous": [self.previous[0], str(self.previous[1])] if self.previous else None,
        }
        return canonical.dumps(value)

    def is_as_written(self, path: str, key: StatKey) -> bool:
        """Whether a file in the state `key` is the one that was written.

        The other hard links of a file change its change time: of those only what writing changes counts.
        """
        known = self.keys.get(path)
        if known is None:
            return False
        if self.linked:
            return known.written == key.written
        # A later write in the same tick of the clock may leave the stamps as they are.
        settled = max(key.mtime_ns, key.ctime_ns) < self.taken_ns - tick_of(key.mtime_ns, key.ctime_ns)
        return known == key and settled


def write(root: Path, record: Record) -> None:
    """Put the record into the directory `root`, durably."""
    write_file(root / FOLDER / FILE, record.to_bytes())


def read(root: Path) -> Record | None:
    """The record in `root`, None when there is none that can be used.

    :raises DiskError: it cannot be read.
    """
    if (root / FOLDER).is_symlink():
        return None
    data = read_file(root / FOLDER / FILE)
    try:
        return None if data is None else _parse(canonical.loads(data, "the record of ensure", limit=_LIMIT))
    except (Corrupt, UnsafePath, LookupError, TypeError, ValueError):
        # Somebody wrote into it: nothing here is known to be ours.
        return None


def _parse(value: Mapping[str, Any]) -> Record:
    if value.get("version") != _VERSION:
        raise Corrupt("the record of ensure is of another version")
    entries = Snapshot.from_json(value.get("entries"))
    validate_tree(entries)
    previous, keys = value.get("previous"), value.get("keys")
    if not isinstance(keys, dict) or not isinstance(value.get("taken"), int):
        raise Corrupt("the record of ensure cannot be read")
    return Record(
        str(value.get("reference")),
        Digest.parse(value.get("digest", "")),
        entries,
        {path: StatKey(*(int(number) for number in key)) for path, key in keys.items()},
        value["taken"],
        value.get("linked") is True,
        (str(previous[0]), Digest.parse(previous[1])) if previous else None,
    )


# --- what is there


@dataclass(slots=True)
class Standing:
    """How a directory compares with its record.

    :param edited: files of ours that somebody changed, or replaced by something else.
    :param lacking: what is gone, has another mode, or bytes that went bad under an unchanged stamp.
    :param unknown: files, links and empty directories that are not ours; `.git` as one.
    :param keys: the files of ours that have the recorded content, as they are now.
    :param edits: the files that were edited, likewise.
    """

    edited: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    keys: dict[str, StatKey] = field(default_factory=dict)
    edits: dict[str, StatKey] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all that was written is there as it was written."""
        return not self.edited and not self.lacking


def compare(root: Path, record: Record | None, run: Run, *, verify: bool = False) -> Standing:
    """Look at the directory `root`; files that are not as they were written are read.

    :param verify: all files are.
    """
    found = Standing()
    entries = record.entries if record else Snapshot()
    here = dict(walk(root, known=_directories(entries)))
    found.unknown = sorted(path for path in here if path not in entries)
    doubtful: list[tuple[str, int]] = []
    for path, entry in entries.items():
        facts = here.get(path)
        if facts is None:
            # A directory that holds something is no leaf.
            if entry.kind != "dir" or not (root / path).is_dir() or (root / path).is_symlink():
                found.lacking.append(path)
        elif entry.kind != "file":
            if not _is(root / path, facts, entry):
                found.edited.append(path)
        elif not stat.S_ISREG(facts.st_mode):
            found.edited.append(path)
        elif record and record.is_as_written(path, StatKey.of(facts)) and not verify:
            found.keys[path] = StatKey.of(facts)
        else:
            doubtful.append((path, facts.st_size))
    if record and doubtful:
        _read_doubtful(root, record, doubtful, run, found)
    return found


def _is(path: Path, facts: os.stat_result, entry: Entry) -> bool:
    if entry.kind == "link":
        return stat.S_ISLNK(facts.st_mode) and os.readlink(path) == entry.target
    return stat.S_ISDIR(facts.st_mode)


def _read_doubtful(root: Path, record: Record, doubtful: list[tuple[str, int]], run: Run, found: Standing) -> None:
    left = dict(doubtful)

    def each(path: str, hashed: Hashed) -> None:
        del left[path]
        entry = record.entries[path]
        as_written = record.is_as_written(path, hashed.key)
        if hashed.digest != entry.digest:
            # Nobody wrote, and the bytes are others: the disk did it.
            (found.lacking if as_written else found.edited).append(path)
            found.edits[path] = hashed.key
            return
        found.keys[path] = hashed.key
        if bool((root / path).lstat().st_mode & stat.S_IXUSR) != entry.executable:
            found.lacking.append(path)

    with Tree(root) as tree:
        hash_files(tree, doubtful, run, each)
    found.lacking += left


def _directories(entries: Mapping[str, Entry]) -> set[str]:
    return {parent for path in entries for parent in parents(path)}


def walk(
    root: Path, *, known: set[str], whole: Callable[[str], bool] = lambda _path: False
) -> Iterator[tuple[str, os.stat_result]]:
    """Files, links and empty directories below `root`, by their POSIX paths; nothing of our own folder.

    :param known: directories that are not told when they are empty.
    :param whole: which directories to tell as they are, without looking into them. `.git` is one.
    """
    todo = [""]
    while todo:
        directory = todo.pop()
        with translated(f"read {root / directory}"), os.scandir(root / directory) as listing:
            items = list(listing)
        if not items and directory and directory not in known:
            yield directory, (root / directory).lstat()
        for item in items:
            path = f"{directory}/{item.name}" if directory else item.name
            if path == FOLDER:
                continue
            if item.is_dir(follow_symlinks=False) and item.name != _GIT and not whole(path):
                todo.append(path)
            else:
                yield path, item.stat(follow_symlinks=False)


def in_the_way(unknown: list[str], entries: Mapping[str, Entry]) -> list[str]:
    """Those of `unknown` that `entries` could not be put beside."""
    directories = _directories(entries)
    places = {path for path, entry in entries.items() if entry.kind != "dir"}
    return [
        path
        for path in unknown
        if path in entries or path in directories or any(parent in places for parent in parents(path))
    ]
