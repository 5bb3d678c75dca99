"""The digest cache: stat keys to digests, loaded whole, written whole, never believed when in doubt.

An entry counts only when (facts: reliability §5.1)
(a) size, mtime, ctime, inode and device are all equal,
(b) mtime and ctime lie before the moment of hashing by more than the coarsest clock tick, so a later write in the
    same tick cannot hide,
(c) `disk.hashing` wrote mapped pages back before it hashed a young file, and
(d) the file system stamps every change; where it does not, only `status` may use the entry, never push or pull.
The file is disposable: damaged, foreign or from the future means empty.

Rows are columns in path order, so that those of a directory lie together and compare with a listing at once
(`workspace.glance`).
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelops_bundle.disk.files import read_file, write_file
from modelops_bundle.disk.filesystems import stamps_every_change, tick_of
from modelops_bundle.disk.hashing import Hashed
from modelops_bundle.disk.tree import StatKey
from modelops_bundle.errors import DiskError
from modelops_bundle.model.digest import Digest
from modelops_bundle.workspace.columns import DIGEST, DIRECTORY, FILE, LINK, WIDTH, Columns, encoded, in_order

_MAGIC = f"MOBINDEX2{sys.byteorder[0]}\n".encode()
_HEADER = struct.Struct("<qqqq")
_SEAL = 32
STAMPS = ("st_mode", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev", "taken")


def tick(key: StatKey) -> int:
    """How long (ns) two writes may carry the same stamps, judged by the stamps: whole seconds may be rounded ones."""
    return tick_of(key.mtime_ns, key.ctime_ns)


def settled(key: StatKey, taken_ns: int) -> bool:
    """Whether no write after `taken_ns` can leave `key` as it is (rule b)."""
    return max(key.mtime_ns, key.ctime_ns) < taken_ns - tick(key)


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one path. `mode` is that of the stat under the key, 0 where nobody told."""

    hashed: Hashed
    kind: int = FILE
    mode: int = 0
    target: str | None = None

    def numbers(self) -> tuple[int, ...]:
        """The size, then a value for each of `STAMPS`. A mode of 0 is none that a glance ever finds."""
        key, taken = self.hashed.key, self.hashed.taken_ns
        size = len((self.target or "").encode("utf-8", "surrogateescape")) if self.kind == LINK else key.size
        proven = size == key.size and settled(key, taken)
        return size, self.mode if proven else 0, key.mtime_ns, key.ctime_ns, key.inode, key.device, taken


Runs = list[list[int]]
"""Rows of one directory: each run as [first row, last + 1, first byte of the names, last + 1]."""
Table = dict[str, tuple[Runs, list[str]]]
"""Every directory that holds rows, or is one, or leads to one: the runs of its rows, the names of such directories."""


class Index:
    """Digests by path, with the stat keys they were taken under."""

    def __init__(self, path: Path, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._now_ns = now_ns
        self.columns = Columns()
        self.stamps: dict[str, bytes] = dict.fromkeys(STAMPS, b"")
        self.table: Table = {}
        self._arrays: dict[str, array[int]] = {}
        self._fresh: dict[str, Row] = {}
        self._dropped = False
        self._loaded = False
        self._usable = False

    def _load(self) -> None:
        self._loaded = True
        try:
            data = read_file(self._path)
        except DiskError:
            data = None
        start = len(_MAGIC) + _HEADER.size
        if data is None or not data.startswith(_MAGIC) or len(data) < start + _SEAL:
            return
        if hashlib.sha256(memoryview(data)[:-_SEAL]).digest() != data[-_SEAL:]:
            return
        saved, count, *sizes = _HEADER.unpack_from(data, len(_MAGIC))
        if saved > self._now_ns():
            # The clock went backwards: a write since then may carry any stamp again.
            return
        parts = []
        for size in (*sizes, count, DIGEST * count, *[WIDTH * count] * (1 + len(STAMPS))):
            parts.append(data[start : start + size])
            start += size
        head, names, kinds, digests, lengths, *stamps = parts
        about = json.loads(head)
        self.columns = Columns(names, kinds, lengths, digests, about["targets"])
        self.stamps = dict(zip(STAMPS, stamps, strict=True))
        self.table = about["table"]
        self._usable = True

    def usable(self) -> bool:
        """Whether the file is whole, of this format and not of the future; it counts as empty when it is not."""
        if not self._loaded:
            self._load()
        return self._usable

    def number(self, stamp: str, row: int) -> int:
        """One number of a row."""
        return self._array(stamp)[row]

    def _array(self, stamp: str) -> array[int]:
        if stamp not in self._arrays:
            self._arrays[stamp] = array("q", self.stamps[stamp])
        return self._arrays[stamp]

    def get(self, path: str, key: StatKey, *, strict: bool) -> Digest | None:
        """The digest of `path` in the state `key`, None when it has to be read again.

        :param strict: something is written on the strength of this: blind file systems do not count.
        """
        if not self._loaded:
            self._load()
        row = self._fresh.get(path) or self._stored(path)
        if row is None or row.hashed.key != key or not settled(key, row.hashed.taken_ns):
            return None
        if row.hashed.taken_ns > self._now_ns() or (strict and not stamps_every_change(key.device)):
            return None
        return row.hashed.digest

    def _stored(self, path: str) -> Row | None:
        at = self.columns.rows.get(path)
        return None if at is None else self._row(at)

    def _row(self, at: int) -> Row:
        mode, mtime, ctime, inode, device, taken = (self.number(stamp, at) for stamp in STAMPS)
        key = StatKey(self.columns.length(at), mtime, ctime, inode, device)
        target = self.columns.targets.get(self.columns.paths[at])
        return Row(Hashed(self.columns.digest(at), key, taken), self.columns.kinds[at], mode, target)

    def put(self, path: str, hashed: Hashed) -> None:
        """Remember a digest for this run, and for later ones after `save`."""
        self._fresh[path] = Row(hashed)

    def describe(self, path: str, kind: int, mode: int, key: StatKey) -> None:
        """Add to the digest of a file in the state `key` what a glance at the file has to see next time."""
        row = self._fresh.get(path) or self._stored(path)
        if row is not None and row.hashed.key == key and (row.kind, row.mode) != (kind, mode):
            self._fresh[path] = Row(row.hashed, kind, mode)

    def put_other(self, path: str, row: Row) -> None:
        """Remember a link or an empty directory."""
        known = self._stored(path)
        if known is None or _but_for_the_time(known) != _but_for_the_time(row):
            self._fresh[path] = row

    def covers(self, names: bytes, *, strict: bool) -> bool:
        """Whether a glance at the disk may do instead of asking `get` for each path. Rows of other paths go.

        :param names: of all paths of interest, as a column.
        """
        if not self._loaded:
            self._load()
        if not len(self.columns) or self._fresh:
            return False
        if strict and not all(stamps_every_change(device) for device in set(self._array("st_dev"))):
            return False
        if names != self.columns.names:
            before = len(self.columns)
            self._merge({}, set(names.decode("utf-8", "surrogateescape").split("\0")), self._now_ns())
            self._dropped = len(self.columns) < before
        return self.in_time()

    def in_time(self) -> bool:
        """Whether the clock is not before the moment that some row was taken at."""
        return max(self._array("taken"), default=0) <= self._now_ns()

    def keys(self) -> Callable[[], dict[str, StatKey]]:
        """What gives the stat key of each file as the rows are now, whatever is saved later."""
        columns, stamps = self.columns, self.stamps

        def made() -> dict[str, StatKey]:
            numbers = [array("q", column) for column in (columns.sizes, *(stamps[stamp] for stamp in STAMPS[1:-1]))]
            rows = zip(columns.paths, columns.kinds, map(StatKey, *numbers), strict=True)
            return {path: key for path, kind, key in rows if kind not in (LINK, DIRECTORY)}

        return made

    def save(self, keep: Collection[str] | None = None) -> None:
        """Write the cache if anything changed.

        :param keep: drop the rows of all other paths.
        """
        if not self._fresh and not self._dropped:
            return
        if not self._loaded:
            self._load()
        now = self._now_ns()
        # Not what was hashed "later than now", before the clock was set back: its stamps may come again. What a pull
        # has just placed counts from a tick after it got its name on, and until then `get` does not believe it.
        fresh = {
            path: row
            for path, row in self._fresh.items()
            if row.hashed.taken_ns <= now + tick(row.hashed.key) and _fits(row)
        }
        wanted = None if keep is None else set(keep)
        if not self._replace(fresh, wanted):
            self._merge(fresh, wanted, now)
        self._fresh = {path: row for path, row in self._fresh.items() if path not in fresh}
        self._dropped = False
        write_file(self._path, self._to_bytes(now))

    def _replace(self, fresh: Mapping[str, Row], wanted: set[str] | None) -> bool:
        """Write `fresh` over the rows of the same paths; False where that is not all there is to do."""
        rows = self.columns.rows
        if not fresh.keys() <= rows.keys() or (wanted is not None and rows.keys() != wanted) or not self.in_time():
            return False
        old = self.columns
        if any((old.kinds[rows[path]] == DIRECTORY) != (row.kind == DIRECTORY) for path, row in fresh.items()):
            return False
        kinds, digests, sizes = bytearray(old.kinds), bytearray(old.digests), array("q", old.sizes)
        stamps = [array("q", self.stamps[stamp]) for stamp in STAMPS]
        targets = {path: target for path, target in old.targets.items() if path not in fresh}
        for path, row in fresh.items():
            at = rows[path]
            kinds[at] = row.kind
            digests[at * DIGEST : (at + 1) * DIGEST] = bytes.fromhex(row.hashed.digest.hex)
            for numbers, value in zip((sizes, *stamps), row.numbers(), strict=True):
                numbers[at] = value
            if row.target is not None:
                targets[path] = row.target
        self._hold(Columns(old.names, bytes(kinds), sizes.tobytes(), bytes(digests), targets), stamps)
        return True

    def _merge(self, fresh: Mapping[str, Row], wanted: set[str] | None, now: int) -> None:
        """Rows of `fresh`, and those of before that are wanted still."""
        old, taken = self.columns, self._array("taken")
        kept = {
            path: at
            for at, path in enumerate(old.paths)
            if path not in fresh and taken[at] <= now and (wanted is None or path in wanted)
        }
        paths = in_order([*kept, *fresh])
        rows = [fresh[path] if path in fresh else self._row(kept[path]) for path in paths]
        numbers = [array("q", values) for values in zip(*(row.numbers() for row in rows), strict=True)]
        sizes, *stamps = numbers or [array("q") for _ in range(1 + len(STAMPS))]
        kinds = bytes(row.kind for row in rows)
        digests = b"".join(bytes.fromhex(row.hashed.digest.hex) for row in rows)
        targets = {path: row.target for path, row in zip(paths, rows, strict=True) if row.target is not None}
        self._hold(Columns(encoded(paths), kinds, sizes.tobytes(), digests, targets), stamps)
        self.table = _table(paths, kinds)

    def _hold(self, columns: Columns, stamps: Iterable[array[int]]) -> None:
        self.columns = columns
        self._arrays = dict(zip(STAMPS, stamps, strict=True))
        self.stamps = {stamp: values.tobytes() for stamp, values in self._arrays.items()}

    def _to_bytes(self, now: int) -> bytes:
        columns = self.columns
        head = json.dumps({"targets": dict(columns.targets), "table": self.table}, separators=(",", ":")).encode()
        parts = [
            _MAGIC,
            _HEADER.pack(now, len(columns), len(head), len(columns.names)),
            head,
            columns.names,
            columns.kinds,
            columns.digests,
            columns.sizes,
            *self.stamps.values(),
        ]
        body = b"".join(parts)
        return body + hashlib.sha256(body).digest()


def _fits(row: Row) -> bool:
    """Whether a column can hold the times: not those of a clock that is centuries ahead."""
    return max(row.hashed.key.mtime_ns, row.hashed.key.ctime_ns) < 1 << 63


def _but_for_the_time(row: Row) -> tuple[object, ...]:
    return row.hashed.digest, row.hashed.key, row.kind, row.mode, row.target


def _table(paths: Iterable[str], kinds: bytes) -> Table:
    table: Table = {"": ([], [])}
    at = 0
    for row, path in enumerate(paths):
        end = at + len(path.encode("utf-8", "surrogateescape")) + 1
        if kinds[row] == DIRECTORY:
            _enter(table, path)
        else:
            runs, _ = _enter(table, path.rpartition("/")[0])
            if runs and runs[-1][1] == row:
                runs[-1][1], runs[-1][3] = row + 1, end
            else:
                runs.append([row, row + 1, at, end])
        at = end
    return table


def _enter(table: Table, directory: str) -> tuple[Runs, list[str]]:
    """The line of `directory`; it and those above it are added where they are missing."""
    found = table.get(directory)
    if found is not None:
        return found
    found = table[directory] = ([], [])
    while directory:
        above, _, name = directory.rpartition("/")
        known = above in table
        table.setdefault(above, ([], []))[1].append(name)
        if known:
            break
        directory = above
    return found
