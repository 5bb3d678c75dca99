"""The digest cache: stat keys to digests, loaded whole, written whole, never believed when in doubt.

An entry counts only when (facts: reliability §5.1)
(a) size, mtime, ctime, inode and device are all equal,
(b) mtime and ctime lie before the moment of hashing by more than the coarsest clock tick, so a later write in the
    same tick cannot hide,
(c) `disk.hashing` wrote mapped pages back before it hashed a young file, and
(d) the file system stamps every change; where it does not, only `status` may use the entry, never push or pull.
The file is disposable: damaged, foreign or from the future means empty.
"""

from __future__ import annotations

import hashlib
import struct
import time
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

from modelops_bundle.disk.files import read_file, write_file
from modelops_bundle.disk.filesystems import stamps_every_change
from modelops_bundle.disk.hashing import Hashed
from modelops_bundle.disk.tree import StatKey
from modelops_bundle.errors import DiskError
from modelops_bundle.model.digest import Digest

_MAGIC = b"MOBINDEX1\n"
_HEADER = struct.Struct("<qqq")
_COLUMNS = 6
COARSE_TICK = 2 * 10**9
"""Nanoseconds: the coarsest time stamps in use (FAT has 2 s)."""
FINE_TICK = 10**8
"""Nanoseconds: ten times the coarsest kernel tick (10 ms at HZ=100) of file systems that stamp finer than seconds."""


def tick(key: StatKey) -> int:
    """How long (ns) two writes may carry the same stamps, judged by the stamps: whole seconds may be rounded ones."""
    fine = key.mtime_ns % 10**9 and key.ctime_ns % 10**9
    return FINE_TICK if fine else COARSE_TICK


def settled(key: StatKey, taken_ns: int) -> bool:
    """Whether no write after `taken_ns` can leave `key` as it is (rule b)."""
    return max(key.mtime_ns, key.ctime_ns) < taken_ns - tick(key)


class Index:
    """Digests by path, with the stat keys they were taken under."""

    def __init__(self, path: Path, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._now_ns = now_ns
        self._rows: dict[str, int] = {}
        self._numbers: array[int] = array("q")
        self._digests = b""
        self._fresh: dict[str, Hashed] = {}
        self._loaded = False

    def _load(self) -> None:
        self._loaded = True
        try:
            data = read_file(self._path)
        except DiskError:
            data = None
        if data is None or not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + _HEADER.size + 32:
            return
        body, seal = memoryview(data)[:-32], data[-32:]
        if hashlib.sha256(body).digest() != seal:
            return
        saved, count, names_size = _HEADER.unpack_from(data, len(_MAGIC))
        if saved > self._now_ns():
            # The clock went backwards: a write since then may carry any stamp again.
            return
        start = len(_MAGIC) + _HEADER.size
        names = bytes(body[start : start + names_size]).decode("utf-8", "surrogateescape")
        start += names_size
        self._numbers.frombytes(body[start : start + 8 * _COLUMNS * count])
        self._digests = bytes(body[start + 8 * _COLUMNS * count :])
        if count:
            self._rows = dict(zip(names.split("\0"), range(count), strict=True))

    def get(self, path: str, key: StatKey, *, strict: bool) -> Digest | None:
        """The digest of `path` in the state `key`, None when it has to be read again.

        :param strict: something is written on the strength of this: blind file systems do not count.
        """
        if not self._loaded:
            self._load()
        known = self._fresh.get(path) or self._stored(path)
        if known is None or known.key != key or not settled(key, known.taken_ns):
            return None
        if known.taken_ns > self._now_ns() or (strict and not stamps_every_change(key.device)):
            return None
        return known.digest

    def _stored(self, path: str) -> Hashed | None:
        row = self._rows.get(path)
        if row is None:
            return None
        *key, taken = self._numbers[row * _COLUMNS : (row + 1) * _COLUMNS]
        return Hashed(Digest.from_bytes(self._digests[row * 32 : row * 32 + 32]), StatKey(*key), taken)

    def put(self, path: str, hashed: Hashed) -> None:
        """Remember a digest for this run, and for later ones after `save`."""
        self._fresh[path] = hashed

    def save(self, keep: Iterable[str] | None = None) -> None:
        """Write the cache if anything changed.

        :param keep: drop the rows of all other paths.
        """
        if not self._fresh:
            return
        if not self._loaded:
            self._load()
        names: list[str] = []
        numbers: array[int] = array("q")
        digests: list[bytes] = []
        wanted = None if keep is None else set(keep)
        now = self._now_ns()
        for path, row in self._rows.items():
            # Not what was hashed "later than now", before the clock was set back: its stamps may come again.
            old = self._numbers[row * _COLUMNS + _COLUMNS - 1] <= now
            if old and path not in self._fresh and (wanted is None or path in wanted):
                names.append(path)
                numbers.extend(self._numbers[row * _COLUMNS : (row + 1) * _COLUMNS])
                digests.append(self._digests[row * 32 : row * 32 + 32])
        for path, hashed in self._fresh.items():
            if hashed.taken_ns > now:
                continue
            names.append(path)
            numbers.extend((*hashed.key, hashed.taken_ns))
            digests.append(bytes.fromhex(hashed.digest.hex))
        joined = "\0".join(names).encode("utf-8", "surrogateescape")
        header = _MAGIC + _HEADER.pack(now, len(names), len(joined))
        body = header + joined + numbers.tobytes() + b"".join(digests)
        write_file(self._path, body + hashlib.sha256(body).digest())
