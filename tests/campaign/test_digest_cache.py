"""The digest cache is never stale: 100,000 edits nobody could be blamed for missing (facts: reliability §5.1).

Nine tenths happen on a simulated file system, whose clock has ticks of 4 ms, 1 s and 2 s, and under which the product's
own hashing and cache run; the rest on real files with real memory maps. Every campaign has its control: with one of the
rules taken out the same harness must find stale digests.

BUNDLE_CAMPAIGN=1 runs all of it, otherwise a twentieth.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelops_bundle.disk import hashing
from modelops_bundle.disk.filesystems import stamps_every_change
from modelops_bundle.disk.hashing import Hashed
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.events import Run
from modelops_bundle.model.digest import Digest
from modelops_bundle.workspace import glance
from modelops_bundle.workspace import index as index_module
from modelops_bundle.workspace.index import Index
from modelops_bundle.workspace.scan import Digester, Found, look
from modelops_bundle.workspace.survey import Surveyor
from tests.support.campaign import rounds

SEED = 20_251_120
MILLISECOND, SECOND = 10**6, 10**9
TICKS = {"4 ms": 4 * MILLISECOND, "1 s": SECOND, "2 s": 2 * SECOND}
SIMULATED = rounds(30_000)
REAL = rounds(10_000)
CONTROL = 6_000
WRITEBACK = 35 * SECOND
"""When the kernel writes dirty pages back by itself (reliability §5.1)."""


def digest(content: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest())


# --- a file system whose clock has coarse ticks ------------------------------------------------------------------------


@dataclass
class File:
    content: bytes
    mtime: int
    ctime: int
    inode: int
    dirty_since: int | None = None
    """When a mapped page was dirtied: until it is written back, further mapped writes take no new stamp."""


@dataclass
class World:
    """Files, a wall clock that can be set, a steady one that cannot; and the calls that `disk.hashing` makes."""

    tick: int
    wall: int = 1_700_000_000 * SECOND + 123_456_789
    steady: int = 0
    files: dict[str, File] = field(default_factory=dict)
    disk: dict[str, bytes] = field(default_factory=dict)
    hashed: int = 0
    _inodes: int = 100
    _open: dict[int, tuple[str, int]] = field(default_factory=dict)

    def now(self) -> int:
        return self.wall

    def stamp(self) -> int:
        return self.wall - self.wall % self.tick

    def advance(self, amount: int) -> None:
        self.wall += amount
        self.steady += amount
        for file in self.files.values():
            if file.dirty_since is not None and self.steady - file.dirty_since >= WRITEBACK:
                file.dirty_since = None

    # Edits. All keep the size.

    def create(self, path: str, content: bytes, inode: int | None = None) -> None:
        self._inodes += 1
        self.files[path] = File(content, self.stamp(), self.stamp(), inode or self._inodes)

    def write(self, path: str, content: bytes) -> None:
        file = self.files[path]
        file.content, file.mtime, file.ctime = content, self.stamp(), self.stamp()

    def utime(self, path: str, mtime: int) -> None:
        file = self.files[path]
        file.mtime, file.ctime = mtime, self.stamp()

    def map_write(self, path: str, content: bytes) -> None:
        file = self.files[path]
        if file.dirty_since is None:
            file.mtime = file.ctime = self.stamp()
            file.dirty_since = self.steady
        file.content = content

    # What the product sees.

    def key(self, path: str) -> StatKey:
        file = self.files[path]
        return StatKey(len(file.content), file.mtime, file.ctime, file.inode, 0)

    def open_read(self, path: str) -> int:
        self.hashed += 1
        descriptor = 1000 + self.hashed
        self._open[descriptor] = (path, 0)
        return descriptor

    def fstat(self, descriptor: int) -> Any:
        key = self.key(self._open[descriptor][0])
        return SimpleNamespace(
            st_size=key.size,
            st_mtime_ns=key.mtime_ns,
            st_ctime_ns=key.ctime_ns,
            st_ino=key.inode,
            st_dev=key.device,
        )

    def readv(self, descriptor: int, buffers: list[bytearray]) -> int:
        path, done = self._open[descriptor]
        piece = self.files[path].content[done : done + len(buffers[0])]
        buffers[0][: len(piece)] = piece
        self._open[descriptor] = (path, done + len(piece))
        return len(piece)

    def fdatasync(self, descriptor: int) -> None:
        self.files[self._open[descriptor][0]].dirty_since = None

    fsync = fdatasync

    def close(self, descriptor: int) -> None:
        del self._open[descriptor]

    def cpu_count(self) -> int:
        return 1


Cache = Callable[[World], Index]


def honest(world: World) -> Index:
    return Index(Path("index"), world.now)


class WithoutCtime(Index):
    """What the cache would be if it looked at the modification time alone."""

    def get(self, path: str, key: StatKey, *, strict: bool) -> Digest | None:
        return super().get(path, key._replace(ctime_ns=key.mtime_ns), strict=strict)

    def put(self, path: str, hashed: Hashed) -> None:
        key = hashed.key._replace(ctime_ns=hashed.key.mtime_ns)
        super().put(path, Hashed(hashed.digest, key, hashed.taken_ns))


@dataclass
class Tally:
    edits: int = 0
    asked: int = 0
    stale: int = 0
    from_cache: int = 0
    kinds: dict[str, int] = field(default_factory=dict)


class Campaign:
    """Random edits and questions on one world."""

    def __init__(self, world: World, seed: int, cache: Cache) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.cache = cache
        self.index = cache(world)
        self.tally = Tally()
        self.count = 0
        for number in range(6):
            world.create(f"f{number}", self.fresh())
        world.advance(10 * SECOND)
        self.edits = [
            self.overwrite,
            self.overwrite,
            self.preserve_mtime,
            self.rename_over,
            self.recreate,
            self.map_write,
            self.map_write,
            self.map_and_age,
            self.clock_back,
        ]

    def fresh(self) -> bytes:
        """Content never seen before, always of one size."""
        self.count += 1
        return b"%012d" % self.count

    def run(self, edits: int) -> Tally:
        for _ in range(edits):
            path = self.random.choice(list(self.world.files))
            edit = self.random.choice(self.edits)
            # Ask now and then first, so that there is something to be stale.
            if self.random.random() < 0.7:
                self.ask(path)
                self.world.advance(self.random.choice([0, 0, MILLISECOND, self.world.tick // 2, self.world.tick]))
            edit(path)
            self.tally.edits += 1
            self.tally.kinds[edit.__name__] = self.tally.kinds.get(edit.__name__, 0) + 1
            if edit == self.clock_back or self.random.random() < 0.8:
                self.pause()
                self.ask(path)
            if self.random.random() < 0.1:
                self.ask(self.random.choice(list(self.world.files)))
            self.pause()
        return self.tally

    def pause(self) -> None:
        choices = [0, 0, MILLISECOND, 5 * MILLISECOND, 150 * MILLISECOND, SECOND, 3 * SECOND, 40 * SECOND, 100 * SECOND]
        self.world.advance(self.random.choice(choices))

    def ask(self, path: str) -> None:
        if self.random.random() < 0.4:
            self.index = self.cache(self.world)  # the next command
        before = self.world.hashed
        items = {path: Found("file", self.world.key(path))}
        digester = Digester(self.world, self.index, Run(), strict=True)  # type: ignore[arg-type]
        found = digester.snapshot(items)
        self.tally.asked += 1
        self.tally.from_cache += self.world.hashed == before
        self.tally.stale += found[path].digest != digest(self.world.files[path].content)

    # The edits.

    def overwrite(self, path: str) -> None:
        self.world.write(path, self.fresh())

    def preserve_mtime(self, path: str) -> None:
        mtime = self.world.files[path].mtime
        self.world.write(path, self.fresh())
        self.world.utime(path, mtime)

    def rename_over(self, path: str) -> None:
        mtime = self.world.files[path].mtime
        self.world.create(path, self.fresh())
        self.world.utime(path, mtime)

    def recreate(self, path: str) -> None:
        # Removed and made anew: the file system gives the same inode number out again.
        file = self.world.files[path]
        self.world.create(path, self.fresh(), file.inode)
        if self.random.random() < 0.5:
            self.world.utime(path, file.mtime)

    def map_write(self, path: str) -> None:
        self.world.map_write(path, self.fresh())

    def map_and_age(self, path: str) -> None:
        # Written through a map, then given an old modification time, as `cp -p` and unpackers do.
        self.world.map_write(path, self.fresh())
        self.world.utime(path, self.world.wall - 1000 * SECOND)

    def clock_back(self, path: str) -> None:
        # To the very tick of the last change: whatever is written now looks as if nothing had happened.
        file = self.world.files[path]
        back = max(file.mtime, file.ctime)
        if back < self.world.wall and file.mtime == file.ctime and file.dirty_since is None:
            self.world.wall = back + self.random.randrange(self.world.tick)
        else:
            self.world.wall -= 3600 * SECOND
        self.world.write(path, self.fresh())
        self.ask(path)


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tally]:
    """Run a campaign on a new world, with the product's file access led to it."""

    def run(tick: int, edits: int, cache: Cache = honest, seed: int = SEED) -> Tally:
        world = World(tick)
        monkeypatch.setattr(hashing, "os", world)
        monkeypatch.setattr(hashing, "hash_file", partial(_hash_file, now_ns=world.now))
        monkeypatch.setattr(index_module, "read_file", lambda path: world.disk.get(str(path)))
        monkeypatch.setattr(index_module, "write_file", lambda path, data: world.disk.__setitem__(str(path), data))
        return Campaign(world, seed, cache).run(edits)

    _hash_file = hashing.hash_file
    return run


@pytest.mark.parametrize("tick", TICKS)
def test_no_stale_digest_is_served_whatever_the_ticks(simulate: Callable[..., Tally], tick: str) -> None:
    tally = simulate(TICKS[tick], SIMULATED)
    assert tally.edits == SIMULATED
    assert tally.stale == 0
    assert tally.from_cache > tally.asked / 50, "the cache is of use"
    assert min(tally.kinds.values()) > SIMULATED / 20, "every kind of edit occurred"


@pytest.mark.parametrize("tick", TICKS)
def test_control_without_the_rule_of_ticks_digests_are_stale(
    simulate: Callable[..., Tally], monkeypatch: pytest.MonkeyPatch, tick: str
) -> None:
    monkeypatch.setattr(index_module, "settled", lambda key, taken: True)
    assert simulate(TICKS[tick], CONTROL).stale > 0


@pytest.mark.parametrize("tick", TICKS)
def test_control_without_writing_mapped_pages_back_digests_are_stale(
    simulate: Callable[..., Tally], monkeypatch: pytest.MonkeyPatch, tick: str
) -> None:
    monkeypatch.setattr(hashing, "_write_back", lambda descriptor: None)
    assert simulate(TICKS[tick], CONTROL).stale > 0


@pytest.mark.parametrize("tick", TICKS)
def test_control_without_the_change_time_digests_are_stale(simulate: Callable[..., Tally], tick: str) -> None:
    assert simulate(TICKS[tick], CONTROL, lambda world: WithoutCtime(Path("index"), world.now)).stale > 0


def test_control_without_noticing_a_clock_set_back_digests_are_stale(simulate: Callable[..., Tally]) -> None:
    assert simulate(TICKS["2 s"], CONTROL, lambda world: Index(Path("index"), lambda: 1 << 62)).stale > 0


# --- real files --------------------------------------------------------------------------------------------------------

BATCH = 200
SETTLE = 0.15
"""Seconds of real time after which stamps finer than a second count as settled."""


class RealFiles:
    """Files of one page each on a real file system, each with a memory map that stays open."""

    def __init__(self, root: Path, seed: int, count: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.truth: dict[str, bytes] = {}
        self.maps: dict[str, mmap.mmap] = {}
        self.number = 0
        for name in (f"f{n}" for n in range(count)):
            self._write_new(name, self.fresh())

    def fresh(self) -> bytes:
        self.number += 1
        return (b"%012d" % self.number).ljust(4096, b".")

    def _write_new(self, name: str, content: bytes) -> None:
        temporary = self.root / f"{name}.new"
        temporary.write_bytes(content)
        temporary.replace(self.root / name)
        self._map(name)
        self.truth[name] = content

    def _map(self, name: str) -> None:
        if name in self.maps:
            self.maps[name].close()
        with open(self.root / name, "r+b") as file:
            self.maps[name] = mmap.mmap(file.fileno(), 4096)

    def close(self) -> None:
        for mapped in self.maps.values():
            mapped.close()

    def edit(self, name: str) -> str:
        kind = self.random.choice(
            ["write", "utime", "rename", "rename and utime", "map", "map", "map and utime", "none"]
        )
        path = self.root / name
        before = path.stat()
        stamps = (before.st_atime_ns, before.st_mtime_ns)
        if kind == "none":
            return kind
        content = self.fresh()
        if kind.startswith("map"):
            self.maps[name][:] = content
        elif kind.startswith("rename"):
            self._write_new(name, content)
        else:
            with open(path, "r+b") as file:
                file.write(content)
        if kind.endswith("utime"):
            os.utime(path, ns=stamps)
        self.truth[name] = content
        return kind

    def dirty(self, name: str) -> None:
        """Write through the map, as a program under way does."""
        content = self.fresh()
        self.maps[name][:] = content
        self.truth[name] = content


@dataclass
class RealTally:
    edits: int = 0
    stale: int = 0
    from_cache: int = 0


class CountingTree:
    """A tree that knows which files were read."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.root = tree.root
        self.read: set[str] = set()

    def open_read(self, path: str) -> int:
        self.read.add(path)
        return self.tree.open_read(path)

    @contextmanager
    def opener(self, directory: str) -> Iterator[Callable[[str], int]]:
        with self.tree.opener(directory) as opened:

            def counting(path: str) -> int:
                self.read.add(path)
                return opened(path)

            yield counting


def ask_all(files: RealFiles, tree: Tree, cache: Path) -> tuple[int, int]:
    """One command that wants every digest: how many were stale, how many came from the cache."""
    counting = CountingTree(tree)
    found = Digester(counting, Index(cache), Run(), strict=True).snapshot(look(tree, files.truth))  # type: ignore[arg-type]
    stale = sum(found[name].digest != digest(content) for name, content in files.truth.items())
    return stale, len(files.truth) - len(counting.read)


def glance_at_all(files: RealFiles, tree: Tree, cache: Path) -> tuple[int, int]:
    """The same of a command that compares whole directories with the cache."""
    counting = CountingTree(tree)
    tracked = "".join(f"{name}\n" for name in sorted(files.truth)).encode()
    surveyor = Surveyor(counting, Index(cache), Run(), strict=True)  # type: ignore[arg-type]
    surveyor.begin(tracked)
    state, _ = surveyor.survey(None)
    entries = {name: state.entry(name) for name in files.truth}
    stale = sum(
        (entry := entries[name]) is None or entry.digest != digest(content) for name, content in files.truth.items()
    )
    return stale, len(files.truth) - len(counting.read)


Ask = Callable[[RealFiles, Tree, Path], tuple[int, int]]


def on_real_files(base: Path, edits: int, *, dirty: bool = False, ask: Ask = ask_all) -> RealTally:
    (base / "root").mkdir()
    files = RealFiles(base / "root", SEED, BATCH)
    tally = RealTally()
    with Tree(base / "root") as tree:
        while tally.edits < edits:
            for name in files.truth:
                if dirty or files.random.random() < 0.3:
                    files.dirty(name)
            time.sleep(SETTLE)
            stale, _ = ask(files, tree, base / "index")
            tally.stale += stale
            for name in files.truth:
                tally.edits += files.edit(name) != "none"
            stale, cached = ask(files, tree, base / "index")
            tally.stale += stale
            tally.from_cache += cached
    files.close()
    return tally


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Path]:
    if not stamps_every_change(tmp_path.stat().st_dev):
        pytest.skip("the temporary directory is on a file system that does not stamp mapped writes")
    yield tmp_path


def test_control_without_writing_back_real_mapped_writes_are_missed(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_write_back", lambda descriptor: None)
    monkeypatch.setattr(hashing, "_write_all_back", lambda descriptor: True)
    assert on_real_files(on_disk, 1, dirty=True).stale > 0


@pytest.mark.parametrize("ask", [ask_all, glance_at_all])
def test_no_stale_digest_is_served_on_real_files(on_disk: Path, ask: Ask) -> None:
    tally = on_real_files(on_disk, REAL // 2, ask=ask)
    assert tally.edits >= REAL // 2
    assert tally.stale == 0
    assert tally.from_cache > 0, "files nobody touched came from the cache"


def test_control_a_glance_that_does_not_compare_change_times_is_stale(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "_SEEN", ("st_mode", "st_mtime_ns"))
    assert on_real_files(on_disk, CONTROL // 4, ask=glance_at_all).stale > 0
