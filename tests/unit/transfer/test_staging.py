"""Downloads on their way: resumed, verified, and never believed too early."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from modelops_bundle.disk import files
from modelops_bundle.errors import BundleError, Corrupt, DiskError, DiskFull, Interrupted, Unavailable
from modelops_bundle.events import Limits, Run, observe_checkpoints
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks
from modelops_bundle.transfer import receive, segments
from modelops_bundle.transfer import staging as module
from modelops_bundle.transfer.staging import Staging
from tests.support.things import blob
from tests.support.wide import EagerHosts, WideStore

DATA = bytes(range(200))
WHAT = blob(DATA)


class Remote:
    """Serves DATA in pieces, or something else; notes from where it was asked."""

    def __init__(self, data: bytes = DATA, *, piece: int = 10, breaks_after: int | None = None) -> None:
        self.data = data
        self.piece = piece
        self.breaks_after = breaks_after
        self.starts: list[int] = []

    def has(self, what: Descriptor) -> bool:
        return True

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        self.starts.append(start)
        yield self._chunks(start)

    def _chunks(self, start: int) -> Chunks:
        for number, at in enumerate(range(start, len(self.data), self.piece)):
            if number == self.breaks_after:
                raise Unavailable("cut")
            yield self.data[at : at + self.piece]


class Folder:
    """A staging folder with what its user sees of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.staging = Staging(path)
        self.told: list[int] = []
        self.part = path / f"{WHAT.digest.hex}.part"
        self.whole = path / WHAT.digest.hex

    def fetch(self, remote: Remote, what: Descriptor = WHAT, run: Run | None = None) -> int:
        return self.staging.fetch(what, remote, run or Run(), self.told.append)

    def keep(self, data: bytes) -> None:
        self.path.mkdir(exist_ok=True)
        self.part.write_bytes(data)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "parts")


# --- from nothing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 7, 200, 10_000])
def test_a_blob_is_brought_whole(folder: Folder, piece: int) -> None:
    assert not folder.staging.has(WHAT)
    assert folder.staging.missing_bytes(WHAT) == 200
    assert folder.fetch(Remote(piece=piece)) == 200
    assert folder.whole.read_bytes() == DATA
    assert folder.names() == [WHAT.digest.hex]
    assert folder.staging.has(WHAT)
    assert folder.staging.missing_bytes(WHAT) == 0
    assert sum(folder.told) == 200
    assert folder.staging.path(WHAT.digest) == folder.whole


def test_nothing_is_a_blob_too(folder: Folder) -> None:
    assert folder.fetch(Remote(b""), blob(b"")) == 0
    assert folder.staging.has(blob(b""))


@pytest.mark.parametrize(
    "data",
    [DATA[:-1], DATA + b"x", DATA[::-1], b"", b"<html>not found</html>"],
    ids=["short", "long", "other", "no", "x"],
)
def test_other_bytes_are_corrupt_and_leave_nothing(folder: Folder, data: bytes) -> None:
    remote = Remote(data)
    with pytest.raises(Corrupt):
        folder.fetch(remote)
    assert folder.names() == []
    assert remote.starts == [0, 0]  # once more: the way here may have been at fault, not the store


def test_something_where_nothing_is_expected_is_corrupt(folder: Folder) -> None:
    with pytest.raises(Corrupt):
        folder.fetch(Remote(b"x"), blob(b""))
    assert folder.names() == []


def test_an_endless_body_is_cut_at_the_size(folder: Folder) -> None:
    remote = Remote(DATA * 1000)
    with pytest.raises(Corrupt, match="more than 200 bytes"):
        folder.fetch(remote)
    assert sum(folder.told) <= 200


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 10, 199])
def test_an_interrupted_fetch_goes_on_where_it_stopped(folder: Folder, kept: int) -> None:
    folder.keep(DATA[:kept])
    remote = Remote()
    assert folder.staging.missing_bytes(WHAT) == 200 - kept
    assert folder.fetch(remote) == 200 - kept
    assert remote.starts == [kept]
    assert folder.whole.read_bytes() == DATA
    assert folder.told[0] == kept
    assert sum(folder.told) == 200


def test_a_part_that_is_whole_needs_no_request(folder: Folder) -> None:
    folder.keep(DATA)
    remote = Remote()
    assert folder.fetch(remote) == 0
    assert remote.starts == []
    assert folder.names() == [WHAT.digest.hex]


def test_a_cut_connection_keeps_what_came(folder: Folder) -> None:
    with pytest.raises(Unavailable):
        folder.fetch(Remote(breaks_after=7))
    assert folder.part.read_bytes() == DATA[:70]
    remote = Remote()
    assert folder.fetch(remote) == 130
    assert remote.starts == [70]


def test_cancelling_keeps_what_came(folder: Folder) -> None:
    run = Run()

    def tell(amount: int) -> None:
        folder.told.append(amount)
        if sum(folder.told) >= 50:
            run.cancel()

    with pytest.raises(Interrupted):
        folder.staging.fetch(WHAT, Remote(), run, tell)
    assert folder.part.read_bytes() == DATA[:50]
    assert folder.fetch(Remote()) == 150


@pytest.mark.parametrize("bad", [b"x", DATA[:10] + b"x", b"x" * 199, DATA[:-1] + b"x", b"x" * 200])
def test_a_corrupt_part_is_dropped_and_fetched_once_more(folder: Folder, bad: bytes) -> None:
    folder.keep(bad)
    remote = Remote()
    assert folder.fetch(remote) == 200
    assert folder.whole.read_bytes() == DATA
    assert remote.starts[-1] == 0
    assert len(remote.starts) <= 2
    assert sum(folder.told) == 200


def test_a_part_that_is_too_long_is_no_beginning(folder: Folder) -> None:
    folder.keep(DATA + b"x")
    remote = Remote()
    assert folder.fetch(remote) == 200
    assert remote.starts == [0]
    assert (folder.whole.read_bytes(), sum(folder.told)) == (DATA, 200)


def test_a_corrupt_part_and_a_corrupt_store_end(folder: Folder) -> None:
    folder.keep(b"x" * 20)
    remote = Remote(DATA[::-1])
    with pytest.raises(Corrupt):
        folder.fetch(remote)
    assert folder.names() == []
    assert remote.starts == [20, 0]


def test_a_store_that_ignores_the_start_is_corrupt_not_believed(folder: Folder) -> None:
    class Ignorant(Remote):
        @contextmanager
        def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
            self.starts.append(start)
            yield self._chunks(0)

    folder.keep(DATA[:50])
    remote = Ignorant()
    assert folder.fetch(remote) == 200
    assert remote.starts == [50, 0]
    assert folder.whole.read_bytes() == DATA


def test_a_part_that_is_a_link_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    folder.path.mkdir()
    folder.part.symlink_to(tmp_path / "victim")
    with pytest.raises(BundleError):
        folder.fetch(Remote())
    assert (tmp_path / "victim").read_bytes() == b"mine"


# --- stops -----------------------------------------------------------------------------------------------------------


def test_a_stop_at_any_checkpoint_never_leaves_a_wrong_whole_blob(folder: Folder) -> None:
    seen = []
    for number in range(60):
        count = 0

        def stop_here(name: str, number: int = number) -> None:
            nonlocal count
            count += 1
            if count > number:
                raise KeyboardInterrupt(name)

        stop = observe_checkpoints(stop_here)
        try:
            folder.fetch(Remote(piece=40))
        except KeyboardInterrupt as error:
            seen.append(str(error))
        else:
            break
        finally:
            stop()
        if folder.whole.exists():
            assert folder.whole.read_bytes() == DATA
        else:
            assert DATA.startswith(folder.part.read_bytes())
        again = Remote(piece=40)
        if not folder.staging.has(WHAT):
            folder.fetch(again)
        assert folder.whole.read_bytes() == DATA
        folder.staging.clear()
    assert seen == ["chunk written"] * 5 + ["part verified", "part kept"]


def test_the_bytes_are_synced_before_they_get_their_name(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_sync, real_rename = os.fsync, Path.replace
    monkeypatch.setattr(module.os, "fsync", lambda fd: (order.append("fsync"), real_sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append("rename"), real_rename(a, b))[1])
    folder.fetch(Remote())
    assert order == ["fsync", "rename"]


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EIO, DiskError)])
def test_a_disk_that_fails_is_told_and_leaves_no_whole_blob(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[BundleError]
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "write", fail)
    with pytest.raises(kind):
        folder.fetch(Remote())
    assert not folder.whole.exists()


# --- taking over what is on this disk --------------------------------------------------------------------------------


def adopt(folder: Folder, path: Path) -> bool:
    source = os.open(path, os.O_RDONLY)
    try:
        return folder.staging.adopt(WHAT, source)
    finally:
        os.close(source)


def test_a_local_file_with_the_content_is_adopted(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    assert adopt(folder, tmp_path / "f")
    assert folder.staging.has(WHAT)
    assert folder.whole.read_bytes() == DATA
    assert not folder.whole.samefile(tmp_path / "f")


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x", DATA[::-1]])
def test_wrong_content_is_refused_and_leaves_nothing(folder: Folder, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f").write_bytes(data)
    assert not adopt(folder, tmp_path / "f")
    assert folder.names() == []


def test_wrong_content_does_not_cost_the_part_of_an_interrupted_fetch(folder: Folder, tmp_path: Path) -> None:
    folder.keep(DATA[:150])
    (tmp_path / "f").write_bytes(DATA[::-1])
    assert not adopt(folder, tmp_path / "f")
    assert folder.fetch(Remote()) == 50


# --- large ones: full length from the beginning on, and a journal ----------------------------------------------------

LARGE = random.Random(2).randbytes(50_000)
BIG = blob(LARGE)


@pytest.fixture
def large(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The folder, everything above 1,000 bytes being large."""
    monkeypatch.setattr(module, "SMALL", 1_000)
    monkeypatch.setattr(receive, "PAUSE", 3600.0)
    folder.part = folder.path / f"{BIG.digest.hex}.part"
    folder.whole = folder.path / BIG.digest.hex
    return folder


def cut_at(position: int) -> WideStore:
    store = WideStore(LARGE)

    def look(at: int) -> None:
        if at >= position:
            raise Unavailable("cut")

    store.before_piece = look
    return store


def bring(folder: Folder, store: WideStore, run: Run | None = None) -> int:
    return folder.staging.fetch(BIG, store, run or Run(), folder.told.append)


def test_a_large_blob_is_brought_whole(large: Folder) -> None:
    assert large.staging.missing_bytes(BIG) == large.staging.needed_space(BIG) == 50_000
    assert bring(large, WideStore(LARGE)) == 50_000
    assert large.whole.read_bytes() == LARGE
    assert large.names() == [BIG.digest.hex]
    assert (sum(large.told), large.staging.missing_bytes(BIG), large.staging.needed_space(BIG)) == (50_000, 0, 0)


def test_an_interrupted_large_one_goes_on_by_its_journal(large: Folder) -> None:
    with pytest.raises(Unavailable):
        bring(large, cut_at(30_000))
    assert large.part.stat().st_size == 50_000  # which says nothing
    assert large.staging.missing_bytes(BIG) == 20_000
    large.told.clear()
    store = WideStore(LARGE)
    assert bring(large, store) == 20_000
    assert store.asked == [(30_000, 50_000)]
    assert large.told[0] == 30_000
    assert (sum(large.told), large.names()) == (50_000, [BIG.digest.hex])


def test_what_is_reserved_needs_no_more_room(large: Folder) -> None:
    with pytest.raises(Unavailable):
        bring(large, cut_at(30_000))
    reserved = large.part.stat().st_blocks * 512
    assert large.staging.needed_space(BIG) == max(0, 50_000 - reserved)


@pytest.mark.parametrize("damage", ["journal gone", "journal damaged", "part gone", "part short", "part long"])
def test_what_cannot_be_believed_is_begun_anew(large: Folder, damage: str) -> None:
    with pytest.raises(Unavailable):
        bring(large, cut_at(30_000))
    journal = large.path / f"{BIG.digest.hex}.journal"
    if damage == "journal gone":
        journal.unlink()
    elif damage == "journal damaged":
        journal.write_bytes(journal.read_bytes()[:-1] + b"?")
    elif damage == "part gone":
        large.part.unlink()
    else:
        os.truncate(large.part, 49_999 if damage == "part short" else 50_001)
    assert large.staging.missing_bytes(BIG) == 50_000
    store = WideStore(LARGE)
    assert bring(large, store) == 50_000
    assert store.asked == [(0, 50_000)]
    assert large.whole.read_bytes() == LARGE


def test_a_part_that_the_journal_is_wrong_about_is_fetched_once_more(large: Folder) -> None:
    with pytest.raises(Unavailable):
        bring(large, cut_at(30_000))
    with large.part.open("r+b") as file:
        file.write(b"wrong")
    large.told.clear()
    store = WideStore(LARGE)
    assert bring(large, store) == 50_000
    assert store.asked == [(30_000, 50_000), (0, 50_000)]
    assert (sum(large.told), large.whole.read_bytes()) == (50_000, LARGE)


@pytest.mark.parametrize("data", [LARGE[::-1], LARGE[:-1], b"x" * 50_000])
def test_other_large_bytes_leave_nothing(large: Folder, data: bytes) -> None:
    with pytest.raises(Corrupt):
        bring(large, WideStore(data))
    assert large.names() == []


def test_after_corruption_a_host_is_asked_by_one_connection(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 1_000)
    monkeypatch.setattr(receive, "SPLIT", 0)
    monkeypatch.setattr(segments, "SMALLEST", 4_000)
    staging = Staging(folder.path, EagerHosts(4))
    store = WideStore(LARGE[::-1])
    with pytest.raises(Corrupt):
        staging.fetch(BIG, store, Run(), folder.told.append)
    assert len(store.asked) >= 2
    assert store.asked[-1] == (0, 50_000)
    assert folder.names() == []


def test_a_byte_rate_is_no_reason_for_more_connections(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 1_000)
    monkeypatch.setattr(receive, "SPLIT", 0)
    monkeypatch.setattr(segments, "SMALLEST", 4_000)
    staging = Staging(folder.path, EagerHosts(4))
    store = WideStore(LARGE)
    staging.fetch(BIG, store, Run(limits=Limits(rate=10**9)), folder.told.append)
    assert store.asked == [(0, 50_000)]


def test_a_store_without_parts_is_asked_once(large: Folder) -> None:
    remote = Remote(LARGE, piece=1_000)
    staging = Staging(large.path, EagerHosts(4))
    assert staging.fetch(BIG, remote, Run(), large.told.append) == 50_000
    assert remote.starts == [0]


def test_a_full_disk_is_found_before_the_first_byte(large: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(module, "reserve", full)
    store = WideStore(LARGE)
    with pytest.raises(DiskFull):
        bring(large, store)
    assert store.asked == []
    assert large.staging.missing_bytes(BIG) == 50_000


def test_a_stop_at_any_checkpoint_of_a_large_one_is_gone_on_with(large: Folder) -> None:
    seen = set()
    for number in range(60):
        count = 0

        def stop_here(name: str, number: int = number) -> None:
            nonlocal count
            count += 1
            if count == number + 1:
                raise KeyboardInterrupt(name)

        stop = observe_checkpoints(stop_here)
        try:
            bring(large, WideStore(LARGE))
        except KeyboardInterrupt as error:
            seen.add(str(error))
        else:
            break
        finally:
            stop()
        if not large.staging.has(BIG):
            bring(large, WideStore(LARGE))
        assert large.whole.read_bytes() == LARGE
        large.staging.clear()
    assert seen == {"chunk written", "part noted", "part verified", "part kept"}


def test_clearing_removes_everything(folder: Folder, tmp_path: Path) -> None:
    folder.staging.clear()
    folder.keep(b"x")
    folder.fetch(Remote(b"a"), blob(b"a"))
    folder.staging.clear()
    assert folder.names() == []


def test_a_blob_of_another_size_does_not_count(folder: Folder) -> None:
    folder.path.mkdir()
    folder.whole.write_bytes(b"torn")
    assert not folder.staging.has(WHAT)


def test_what_is_no_readable_file_of_that_size_is_not_adopted(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(DATA + b".")
    for name in ("d", "pipe", "long"):
        source = os.open(tmp_path / name, os.O_RDONLY | os.O_NONBLOCK)
        assert not folder.staging.adopt(WHAT, source)
        os.close(source)
    assert not folder.staging.adopt(WHAT, source)
    (tmp_path / "f").write_bytes(DATA)

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "the medium failed")

    monkeypatch.setattr(module.os, "read", fail)
    assert not adopt(folder, tmp_path / "f")
    monkeypatch.undo()
    assert folder.names() == []


# --- several at a time -----------------------------------------------------------------------------------------------


def test_what_several_want_at_once_comes_once(tmp_path: Path) -> None:
    """Each truncated the part that another had verified and given its name to."""
    folder = Folder(tmp_path)
    folder.keep(bytes(10))
    both, told = threading.Barrier(2), list[int]()

    class Slow(Remote):
        def _chunks(self, start: int) -> Chunks:
            with suppress(threading.BrokenBarrierError):
                # As long as nobody else is let in, nobody comes.
                both.wait(0.05)
            yield from super()._chunks(start)

    remote = Slow()
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(folder.staging.fetch, WHAT, remote, Run(), told.append) for _ in range(2)]
        assert sorted(job.result() for job in jobs) == [0, 200]
    assert folder.whole.read_bytes() == DATA
    assert not folder.part.exists()
    # The kept beginning is wrong: what was told of it is taken back.
    assert (remote.starts, sum(told)) == ([10, 0], 400)


def test_what_an_earlier_run_left_is_believed_unless_it_is_said_not_to(tmp_path: Path) -> None:
    folder, remote = Folder(tmp_path), Remote()
    folder.whole.write_bytes(bytes(200))
    assert folder.fetch(remote) == 0
    assert not folder.staging.is_fresh(WHAT)
    assert folder.staging.fetch(WHAT, remote, Run(), folder.told.append, anew=True) == 200
    assert folder.whole.read_bytes() == DATA
    assert folder.staging.is_fresh(WHAT)
    assert folder.staging.fetch(WHAT, remote, Run(), folder.told.append, anew=True) == 0
