"""Digests, and only of files that held still."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from modelops_bundle.disk import hashing
from modelops_bundle.disk.hashing import BLOCK, SETTLED, Hashed, hash_file, hash_files
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import DiskError, Interrupted, WorkspaceChanged, WouldOverwrite
from modelops_bundle.events import Advanced, Event, Finished, ItemStarted, Run, Started
from modelops_bundle.model.digest import Digest


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Tree(tmp_path) as opened:
        yield opened


def ignore(_: int) -> None:
    pass


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_the_digest_is_sha256_of_the_content(tree: Tree, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    progress: list[int] = []
    found = hash_file(tree, "f", Run(), progress.append, now_ns=lambda: 42)
    assert found == Hashed(Digest.of(data), StatKey.of((tmp_path / "f").stat()), 42)
    assert sum(progress) == size


def test_the_clock_is_read_before_the_file(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"x")
    order: list[str] = []
    real = os.readv
    monkeypatch.setattr(hashing.os, "readv", lambda *a: (order.append("read"), real(*a))[1])
    hash_file(tree, "f", Run(), ignore, now_ns=lambda: (order.append("clock"), 1)[1])
    assert order[0] == "clock"


def test_a_file_that_changes_once_is_read_again(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    calls = 0

    def progress(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / "f").write_bytes(b"newer")

    assert hash_file(tree, "f", Run(), progress).digest == Digest.of(b"newer")


def test_a_file_that_does_not_hold_still_is_an_error(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    count = 0

    def progress(_: int) -> None:
        nonlocal count
        count += 1
        with open(tmp_path / "f", "ab") as file:
            file.write(b"more" * count)
            file.flush()
            os.utime(tmp_path / "f", ns=(count, count))
        if count > 50:
            pytest.fail("read for ever")

    with pytest.raises(WorkspaceChanged, match="f changed while it was read"):
        hash_file(tree, "f", Run(), progress)


def test_cancelling_stops_in_the_middle(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * (3 * BLOCK))
    run = Run()
    with pytest.raises(Interrupted):
        hash_file(tree, "f", run, lambda _: run.cancel())


@pytest.mark.parametrize(
    ("mtime", "ctime", "synced"),
    [
        (0, 0, False),
        (SETTLED - 1, 0, False),
        (SETTLED, 0, False),
        (SETTLED + 1, 0, True),
        (10 * SETTLED, 0, True),
        (0, SETTLED + 1, True),
        (20 * SETTLED, 0, True),
    ],
)
def test_mapped_pages_of_young_files_are_written_back_first(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mtime: int, ctime: int, synced: bool
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    calls: list[int] = []
    monkeypatch.setattr(hashing.os, "fdatasync", calls.append)
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        facts = list(real(descriptor))
        return os.stat_result(facts, {"st_mtime_ns": mtime, "st_ctime_ns": ctime})

    monkeypatch.setattr(hashing.os, "fstat", fstat)
    monkeypatch.setattr(hashing.StatKey, "of", classmethod(lambda cls, facts: cls(1, mtime, ctime, 1, 1)))
    hash_file(tree, "f", Run(), ignore, now_ns=lambda: 2 * SETTLED)
    assert bool(calls) is synced


def test_a_mapped_write_before_the_digest_does_not_hide_the_next_one(tree: Tree, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a" * 4096)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as mapped:
        mapped[0:1] = b"b"
        os.utime(path, ns=(0, 0))  # an old modification time, pages dirty all the same
        first = hash_file(tree, "f", Run(), ignore)
        mapped[0:1] = b"c"
        assert StatKey.of(path.stat()) != first.key
        assert hash_file(tree, "f", Run(), ignore).digest == Digest.of(b"c" + b"a" * 4095)


def test_a_file_system_that_refuses_to_sync_is_no_error(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(30, "Read-only file system")

    (tmp_path / "f").write_bytes(b"x")
    monkeypatch.setattr(hashing.os, "fdatasync", refuse)
    assert hash_file(tree, "f", Run(), ignore).digest == Digest.of(b"x")


def test_links_and_pipes_are_never_read(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DiskError):
        hash_file(tree, "link", Run(), ignore)
    with pytest.raises(WouldOverwrite):
        hash_file(tree, "pipe", Run(), ignore)


# --- watched ---------------------------------------------------------------------------------------------------------


class Watcher:
    """Notes what it sees of one reading."""

    def __init__(self, path: str, size: int, read: Callable[[int, int], bytes]) -> None:
        self.about = (path, size, read(0, 3), read(size - 2, 10))
        self.data = bytearray()
        self.digests: list[Digest] = []

    def feed(self, data: bytes | memoryview) -> None:
        self.data += data

    def finish(self, digest: Digest) -> None:
        self.digests.append(digest)


class Watch:
    """Watches all readings."""

    def __init__(self) -> None:
        self.made: list[Watcher] = []

    def __call__(self, path: str, size: int, read: Callable[[int, int], bytes]) -> Watcher:
        self.made.append(Watcher(path, size, read))
        return self.made[-1]


@pytest.mark.parametrize("size", [5, BLOCK, 3 * BLOCK + 7])
def test_who_watches_sees_every_byte_and_the_digest(tree: Tree, tmp_path: Path, size: int) -> None:
    data, watch = os.urandom(size), Watch()
    (tmp_path / "f").write_bytes(data)
    hash_file(tree, "f", Run(), ignore, watch)
    [watcher] = watch.made
    assert watcher.about == ("f", size, data[:3], data[-2:])
    assert watcher.data == data
    assert watcher.digests == [Digest.of(data)]


def test_a_second_reading_is_watched_from_the_start(tree: Tree, tmp_path: Path) -> None:
    watch, calls = Watch(), list[int]()
    (tmp_path / "f").write_bytes(b"old")

    def progress(count: int) -> None:
        if not calls:
            (tmp_path / "f").write_bytes(b"newer")
        calls.append(count)

    hash_file(tree, "f", Run(), progress, watch)
    first, second = watch.made
    assert first.digests == []
    assert second.data == b"newer"
    assert second.digests == [Digest.of(b"newer")]


def test_a_file_that_does_not_hold_still_is_never_finished(tree: Tree, tmp_path: Path) -> None:
    watch = Watch()
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(WorkspaceChanged):
        hash_file(tree, "f", Run(), lambda count: (tmp_path / "f").write_bytes(b"x" * (count + 1)), watch)
    assert [watcher.digests for watcher in watch.made] == [[], []]


class Refusing(Watcher):
    """Has seen enough."""

    def feed(self, data: bytes | memoryview) -> None:
        raise Interrupted("enough")


def test_what_a_watcher_raises_ends_the_hashing(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * (3 * BLOCK))
    told: list[int] = []
    with pytest.raises(Interrupted, match="enough"):
        hash_file(tree, "f", Run(), told.append, Refusing)
    assert told == []


def test_nothing_is_read_over_what_a_watcher_is_looking_at(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"x" * (3 * BLOCK))
    order: list[str] = []

    class Slow(Watcher):
        def feed(self, data: bytes | memoryview) -> None:
            order.append("begin")
            hashlib.sha512(data).digest()
            order.append("end")

    real = os.readv
    monkeypatch.setattr(hashing.os, "readv", lambda *a: (order.append("read"), real(*a))[1])
    hash_file(tree, "f", Run(), ignore, Slow)
    assert order == ["read", "begin", "end"] * 3 + ["read"]


@pytest.mark.parametrize("count", [1, 3])
def test_of_several_each_large_one_is_watched(tree: Tree, tmp_path: Path, count: int) -> None:
    watch, files = Watch(), plant(tmp_path)
    for number in range(count):
        files[f"big{number}"] = os.urandom(hashing.SMALL + 1 + number)
        (tmp_path / f"big{number}").write_bytes(files[f"big{number}"])
    found: dict[str, Digest] = {}
    sized = [(path, len(content)) for path, content in files.items()]
    hash_files(tree, sized, Run(), lambda path, one: found.__setitem__(path, one.digest), watch)
    assert found == digests(files)
    # What is read in one piece is not worth a call.
    assert {watcher.about[0]: bytes(watcher.data) for watcher in watch.made} == {
        path: content for path, content in files.items() if path.startswith("big")
    }


# --- several ---------------------------------------------------------------------------------------------------------


def fill(root: Path, count: int) -> list[tuple[str, int]]:
    for number in range(count):
        (root / str(number)).write_bytes(b"x" * number)
    return [(str(number), number) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_all_are_hashed_and_told_in_this_thread(tree: Tree, tmp_path: Path, count: int) -> None:
    found: dict[str, Digest] = {}
    threads = set()

    def each(path: str, hashed: Hashed) -> None:
        found[path] = hashed.digest
        threads.add(threading.get_ident())

    hash_files(tree, fill(tmp_path, count), Run(), each)
    assert found == {str(n): Digest("sha256", hashlib.sha256(b"x" * n).hexdigest()) for n in range(count)}
    assert threads <= {threading.get_ident()}


def test_the_biggest_goes_first(tree: Tree, tmp_path: Path) -> None:
    order: list[str] = []
    hash_files(tree, fill(tmp_path, 5), Run(), lambda path, _: order.append(path))
    assert order == ["4", "3", "2", "1", "0"]


def test_events_tell_the_whole_story(tree: Tree, tmp_path: Path) -> None:
    got: list[Event] = []
    hash_files(tree, fill(tmp_path, 2), Run(emit=got.append), lambda *_: None)
    assert got[0] == Started("hash", 2, 1)
    assert {e for e in got if isinstance(e, ItemStarted)} == {ItemStarted("0", "0", 0), ItemStarted("1", "1", 1)}
    assert [e for e in got if isinstance(e, Advanced)] == [Advanced("1", 1)]
    assert {e for e in got if isinstance(e, Finished)} == {Finished("0", "copied"), Finished("1", "copied")}


@pytest.mark.parametrize("count", [1, 5])
def test_a_path_that_is_gone_is_left_out(tree: Tree, tmp_path: Path, count: int) -> None:
    found: list[str] = []
    sized = [*fill(tmp_path, count), ("gone", 9), ("no/such/directory", 9)]
    hash_files(tree, sized, Run(), lambda path, _: found.append(path))
    assert sorted(found) == sorted(str(n) for n in range(count))


def test_a_single_path_that_is_gone_is_left_out(tree: Tree) -> None:
    hash_files(tree, [("gone", 1)], Run(), lambda *_: pytest.fail("told"))


def test_any_other_failure_raises(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("x")
    with pytest.raises(DiskError):
        hash_files(tree, [*fill(tmp_path, 3), ("link", 1)], Run(), lambda *_: None)


def test_cancelling_stops_the_rest(tree: Tree, tmp_path: Path) -> None:
    run = Run()
    run.cancel()
    with pytest.raises(Interrupted):
        hash_files(tree, fill(tmp_path, 3), run, lambda *_: pytest.fail("hashed"))


# --- many small ones -------------------------------------------------------------------------------------------------


def plant(root: Path, count: int = 60) -> dict[str, bytes]:
    """Small files in three directories, the root among them."""
    files = {f"{('', 'a/', 'a/é/')[n % 3]}{n}": os.urandom(n * 50) for n in range(count)}
    (root / "a/é").mkdir(parents=True)
    for path, content in files.items():
        (root / path).write_bytes(content)
    return files


def hashed(tree: Tree, files: Mapping[str, bytes], run: Run | None = None) -> dict[str, Digest]:
    found: dict[str, Digest] = {}
    sized = [(path, len(content)) for path, content in files.items()]
    hash_files(tree, sized, run or Run(), lambda path, one: found.__setitem__(path, one.digest))
    return found


def digests(files: Mapping[str, bytes]) -> dict[str, Digest]:
    return {path: Digest.of(content) for path, content in files.items()}


@pytest.mark.parametrize("big", [0, 1, 3])
def test_many_are_hashed_by_directory_beside_the_big_ones(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, big: int
) -> None:
    files = plant(tmp_path)
    for number in range(big):
        files[f"big{number}"] = os.urandom(hashing.SMALL + 1 + number)
        (tmp_path / f"big{number}").write_bytes(files[f"big{number}"])
    careful: list[str] = []
    real = hashing.hash_file
    monkeypatch.setattr(hashing, "hash_file", lambda t, path, *rest: (careful.append(path), real(t, path, *rest))[1])
    got: list[Event] = []
    assert hashed(tree, files, Run(emit=got.append)) == digests(files)
    assert sorted(careful) == [f"big{number}" for number in range(big)]
    assert {e.key for e in got if isinstance(e, Finished)} == files.keys()
    assert sum(e.amount for e in got if isinstance(e, Advanced)) == sum(map(len, files.values()))


def test_odd_ones_among_many_are_looked_at_one_by_one(tree: Tree, tmp_path: Path) -> None:
    files = plant(tmp_path)
    (tmp_path / "3").unlink()
    (tmp_path / "6").write_bytes(b"x" * (hashing.SMALL + 1))
    found = hashed(tree, {**files, "no/such/1": b"", "no/such/2": b""})
    expected = {**digests(files), "6": Digest.of(b"x" * (hashing.SMALL + 1))}
    del expected["3"]
    assert found == expected
    (tmp_path / "9").unlink()
    (tmp_path / "9").symlink_to("12")
    with pytest.raises(DiskError):
        hashed(tree, files)
    (tmp_path / "9").unlink()
    os.mkfifo(tmp_path / "9")
    with pytest.raises(WouldOverwrite):
        hashed(tree, files)


def test_a_link_in_the_place_of_the_directory_of_many_is_not_followed(tree: Tree, tmp_path: Path) -> None:
    files = plant(tmp_path)
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    (tmp_path / "a").symlink_to("elsewhere")
    with pytest.raises(WouldOverwrite):
        hashed(tree, files)


def test_one_of_many_that_changes_while_it_is_read_is_read_again(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = plant(tmp_path)
    real, left = os.read, [1]

    def read(descriptor: int, amount: int) -> bytes:
        content = real(descriptor, amount)
        if left and left.pop():
            for path in files:
                (tmp_path / path).write_bytes(b"changed")
        return content

    monkeypatch.setattr(hashing.os, "read", read)
    assert set(hashed(tree, files).values()) == {Digest.of(b"changed")}


def test_many_can_be_cancelled(tree: Tree, tmp_path: Path) -> None:
    run = Run()
    run.cancel()
    with pytest.raises(Interrupted):
        hashed(tree, plant(tmp_path), run)


@pytest.mark.parametrize("works", [True, False])
def test_many_young_files_are_written_back_by_one_call(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    files = plant(tmp_path)
    now = max((tmp_path / path).stat().st_ctime_ns for path in files) + 5 * 10**9
    calls: list[str] = []
    monkeypatch.setattr(hashing.time, "time_ns", lambda: now)
    monkeypatch.setattr(hashing, "_write_back", lambda descriptor: calls.append("one"))
    monkeypatch.setattr(hashing, "_write_all_back", lambda descriptor: (calls.append("all"), works)[1])
    assert hashed(tree, files) == digests(files)
    one_by_one = hashing._ONE_BY_ONE - 1
    assert calls == ["one"] * one_by_one + ["all"] + ([] if works else ["one"] * (len(files) - one_by_one))


def test_a_file_written_after_all_was_written_back_is_written_back_by_itself(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pages may be dirty again, and mapped writes to dirty pages take no stamp."""
    files = plant(tmp_path)
    began = max((tmp_path / path).stat().st_ctime_ns for path in files)
    calls: list[str] = []
    monkeypatch.setattr(hashing.time, "time_ns", lambda: began)
    monkeypatch.setattr(hashing, "_write_back", lambda descriptor: calls.append("one"))
    monkeypatch.setattr(hashing, "_write_all_back", lambda descriptor: (calls.append("all"), True)[1])
    hashed(tree, files)
    assert calls.count("one") > hashing._ONE_BY_ONE


def test_a_file_system_is_written_back_where_the_system_can(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with open(tmp_path / "f", "rb") as file:
        assert hashing._write_all_back(file.fileno()) is (os.uname().sysname == "Linux")
    assert not hashing._write_all_back(-1)
