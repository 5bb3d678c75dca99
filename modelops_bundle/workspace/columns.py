"""Entries as columns of bytes: a hundred thousand paths compare in a millisecond, and none of them is an object.

Two sets of columns are equal when their bytes are: paths are in byte order, each ended by NUL, which no path holds.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot

FILE, EXECUTABLE, LINK, DIRECTORY = b"fxld"
WIDTH = 8
"""Bytes of a number in a column: int64, little-endian."""
DIGEST = 32
_BLOCK = 256


def numbers(column: bytes) -> array[int]:
    """The integers of a column of numbers."""
    values = array("q", column)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def column(values: Iterable[int]) -> bytes:
    """A column of numbers."""
    made = array("q", values)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def in_order(paths: Iterable[str]) -> list[str]:
    """`paths` in the order of their bytes."""
    listed = list(paths)
    # The order of characters is that of UTF-8; only undecodable bytes stand elsewhere.
    if "".join(listed).isascii():
        return sorted(listed)
    return sorted(listed, key=lambda path: path.encode("utf-8", "surrogateescape"))


def encoded(paths: Iterable[str]) -> bytes:
    """`paths` (in byte order) as the column `names`."""
    joined = "\0".join(paths)
    return (joined + "\0").encode("utf-8", "surrogateescape") if joined else b""


class Columns:
    """One row per path; `targets` are the texts of the links, `roles` of each row where they are kept."""

    def __init__(
        self,
        names: bytes = b"",
        kinds: bytes = b"",
        sizes: bytes = b"",
        digests: bytes = b"",
        targets: Mapping[str, str] | None = None,
        roles: Callable[[int], str] | None = None,
    ) -> None:
        self.names = names
        self.kinds = kinds
        self.sizes = sizes
        self.digests = digests
        self.targets = targets or {}
        self._roles = roles

    @classmethod
    def of(cls, snapshot: Snapshot) -> Columns:
        """The columns of `snapshot`, which is in byte order already."""
        entries = list(snapshot.values())
        return cls(
            encoded(snapshot),
            bytes(kind_of(entry) for entry in entries),
            column(entry.size for entry in entries),
            b"".join(bytes.fromhex(entry.digest.hex) for entry in entries),
            snapshot.links(),
            lambda row: entries[row].role,
        )

    def __len__(self) -> int:
        return len(self.kinds)

    @cached_property
    def paths(self) -> list[str]:
        """The path of each row."""
        return self.names.decode("utf-8", "surrogateescape").split("\0")[:-1]

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each path."""
        return dict(zip(self.paths, range(len(self)), strict=True))

    @cached_property
    def _numbers(self) -> array[int]:
        return numbers(self.sizes)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        links = sum(self._numbers[row] for row in self.of_kind(LINK))
        return sum(self._numbers) - links

    def of_kind(self, kind: int) -> list[int]:
        """The rows of one kind."""
        found = []
        row = self.kinds.find(kind)
        while row >= 0:
            found.append(row)
            row = self.kinds.find(kind, row + 1)
        return found

    def entry(self, row: int, role: str | None = None) -> Entry:
        """What a row holds.

        :param role: of a file; None: the one that is kept here.
        """
        kind = self.kinds[row]
        if kind == DIRECTORY:
            return Entry.directory()
        if kind == LINK:
            return Entry.link(self.targets[self.paths[row]])
        if role is None:
            role = self._roles(row) if self._roles is not None else "code"
        return Entry("file", self.digest(row), self._numbers[row], kind == EXECUTABLE, role)

    def length(self, row: int) -> int:
        """The size of a row in bytes."""
        return self._numbers[row]

    def digest(self, row: int) -> Digest:
        """The digest of a row."""
        return Digest.from_bytes(self.digests[row * DIGEST : (row + 1) * DIGEST])

    def snapshot(self, role: Callable[[str], str] | None = None) -> Snapshot:
        """All rows as entries.

        :param role: of a file by its path; None: those that are kept here.
        """
        paths = self.paths
        return Snapshot({path: self.entry(row, role(path) if role else None) for row, path in enumerate(paths)})

    def differing(self, other: Columns) -> set[str]:
        """The paths that are in one of the two only, or not the same in both."""
        if self.names == other.names:
            return {self.paths[row] for row in self._differing_rows(other)}
        mine, theirs = self.rows, other.rows
        found = set(mine.keys() ^ theirs.keys())
        found.update(path for path in mine.keys() & theirs.keys() if self._row(mine[path]) != other._row(theirs[path]))
        return found

    def _row(self, row: int) -> tuple[int, bytes, bytes]:
        return (
            self.kinds[row],
            self.sizes[row * WIDTH : (row + 1) * WIDTH],
            self.digests[row * DIGEST : (row + 1) * DIGEST],
        )

    def _differing_rows(self, other: Columns) -> Iterable[int]:
        if (self.kinds, self.sizes, self.digests) == (other.kinds, other.sizes, other.digests):
            return
        for start in range(0, len(self), _BLOCK):
            rows = slice(start, start + _BLOCK)
            wide = slice(start * WIDTH, (start + _BLOCK) * WIDTH)
            widest = slice(start * DIGEST, (start + _BLOCK) * DIGEST)
            if (self.kinds[rows], self.sizes[wide], self.digests[widest]) != (
                other.kinds[rows],
                other.sizes[wide],
                other.digests[widest],
            ):
                yield from (
                    row for row in range(start, min(start + _BLOCK, len(self))) if self._row(row) != other._row(row)
                )


def kind_of(entry: Entry) -> int:
    """How `kinds` spells the kind of an entry."""
    if entry.kind == "file":
        return EXECUTABLE if entry.executable else FILE
    return LINK if entry.kind == "link" else DIRECTORY
