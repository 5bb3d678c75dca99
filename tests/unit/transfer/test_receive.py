"""One large content on its way: in one stream or in segments, hashed, noted, stopped at any point."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelops_bundle.disk.allocate import reserve
from modelops_bundle.errors import BundleError, Corrupt, DiskError, DiskFull, Interrupted, NotFound, Unavailable
from modelops_bundle.events import Run, observe_checkpoints
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks
from modelops_bundle.transfer import receive, segments
from modelops_bundle.transfer.hosts import Host
from modelops_bundle.transfer.journal import Journal
from modelops_bundle.transfer.receive import Part, Reception
from modelops_bundle.transfer.segments import Range, Spans
from tests.support.things import blob
from tests.support.wide import EagerHost, WideStore

DATA = random.Random(1).randbytes(200_000)
WHAT = blob(DATA)


class Box:
    """A part on its way, and what its user sees of it."""

    def __init__(self, path: Path) -> None:
        self.file = path / "part"
        self.journal = Journal(path / "journal", WHAT)
        self.out = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600)
        reserve(self.out, WHAT.size)
        self.journal.start()
        self.told: list[int] = []
        self.received = 0

    def hold(self, *ranges: Range) -> None:
        for start, stop in ranges:
            os.pwrite(self.out, DATA[start:stop], start)
        self.journal.start(ranges)

    def bring(self, store: WideStore, host: Host | None = None, run: Run | None = None) -> str:
        part = Part(self.out, WHAT, self.journal.read(), self.journal)
        reception = Reception(part, store, run or Run(), self.told.append, host)
        try:
            return reception.bring()
        finally:
            self.received = reception.received

    def is_whole(self) -> bool:
        return self.file.read_bytes() == DATA and sum(self.told) == self.received

    def noted(self) -> Spans:
        """What the journal tells, after checking that it is true."""
        spans, data = self.journal.read(), self.file.read_bytes()
        assert all(data[start:stop] == DATA[start:stop] for start, stop in spans)
        return spans


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything a thousandth of its size, and nothing by the clock."""
    monkeypatch.setattr(segments, "SEGMENT", 8_000)
    monkeypatch.setattr(segments, "SMALLEST", 4_000)
    monkeypatch.setattr(receive, "SPLIT", 16_000)
    monkeypatch.setattr(receive, "BATCH", 64_000)
    monkeypatch.setattr(receive, "PAUSE", 3600.0)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path)
    yield box
    os.close(box.out)


def after(
    count: int, error: BaseException | None = None, call: Callable[[], None] | None = None
) -> Callable[..., None]:
    """Something to do before the piece that follows `count` others, and before every later one."""
    lock, seen = threading.Lock(), 0

    def look(_at: int) -> None:
        nonlocal seen
        with lock:
            seen += 1
            late = seen > count
        if late and call is not None:
            call()
        if late and error is not None:
            raise error

    return look


# --- one stream


@pytest.mark.parametrize("piece", [1_000, 777, 150_000, 1_000_000])
def test_one_stream(box: Box, piece: int) -> None:
    store = WideStore(DATA, piece=piece)
    assert box.bring(store) == WHAT.digest.hex
    assert box.is_whole()
    assert (store.asked, box.received) == ([(0, 200_000)], 200_000)


def test_a_host_that_is_fast_enough_is_asked_once(box: Box) -> None:
    store = WideStore(DATA)
    assert box.bring(store, Host(lambda: 0.0)) == WHAT.digest.hex
    assert store.asked == [(0, 200_000)]


@pytest.mark.parametrize("host", [None, EagerHost(1)])
def test_only_what_is_missing_comes(box: Box, host: Host | None) -> None:
    box.hold((0, 5_000), (50_000, 150_000))
    store = WideStore(DATA)
    assert box.bring(store, host) == WHAT.digest.hex
    assert store.asked == [(5_000, 50_000), (150_000, 200_000)]
    assert (box.received, sum(box.told)) == (95_000, 95_000)
    assert box.is_whole()


def test_what_is_all_here_is_only_hashed(box: Box) -> None:
    box.hold((0, 200_000))
    store = WideStore(DATA)
    assert box.bring(store) == WHAT.digest.hex
    assert store.asked == []


def test_the_digest_is_that_of_the_file_kept_bytes_included(box: Box) -> None:
    box.hold((0, 100_000))
    os.pwrite(box.out, b"!", 50_000)
    assert box.bring(WideStore(DATA)) != WHAT.digest.hex


@pytest.mark.parametrize(("data", "words"), [(DATA[:-1], "199999 bytes of"), (DATA + b"x", "more than")])
def test_another_length_is_corrupt(box: Box, data: bytes, words: str) -> None:
    class Raw(WideStore):
        def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
            yield self.data[start:]

    with pytest.raises(Corrupt, match=words):
        box.bring(Raw(data))


# --- segments


@pytest.mark.parametrize("room", [2, 4, 16])
def test_several_connections_bring_it_once(box: Box, room: int) -> None:
    store = WideStore(DATA)
    gate = threading.Barrier(room, timeout=10)

    def together(at: int) -> None:
        if (len(store.asked) <= room and at in {start for start, _ in store.asked[1:room]}) or at == 1_000:
            gate.wait()

    store.before_piece = together
    assert box.bring(store, EagerHost(room)) == WHAT.digest.hex
    assert box.is_whole()
    assert store.most == room
    assert box.received == 200_000


def test_what_helpers_ask_for_is_small(box: Box) -> None:
    store = WideStore(DATA)
    box.bring(store, EagerHost(4))
    assert store.asked[0][0] == 0
    assert all(stop - start <= 8_000 for start, stop in store.asked[1:])


def test_a_little_rest_is_not_split(box: Box) -> None:
    box.hold((0, 190_000))
    store = WideStore(DATA)
    box.bring(store, EagerHost(16))
    assert store.asked == [(190_000, 200_000)]


def test_a_part_that_is_given_back_goes_on_in_the_middle_of_a_piece(box: Box) -> None:
    """The first connection's lease is cut, and stretched again when the helper is refused: not a byte is missing."""
    cut, behind = threading.Event(), threading.Event()

    class Refusing(WideStore):
        @contextmanager
        def part(
            self, what: Descriptor, start: int, stop: int, hindered: Callable[[], None]
        ) -> Iterator[Chunks | None]:
            if start:
                cut.set()
                behind.wait(10)
                raise Unavailable("busy")
            with super().part(what, start, stop, hindered) as chunks:
                yield chunks

    class Told(list[int]):
        def append(self, amount: int) -> None:
            super().append(amount)
            if sum(self) > 10_000:
                behind.set()

    store = Refusing(DATA, piece=10_000)
    store.before_piece = lambda at: None if at != 10_000 else void(cut.wait(10))
    box.told = Told()
    assert box.bring(store, EagerHost(2)) == WHAT.digest.hex
    assert box.is_whole()


def void(_: object) -> None:
    """For a lambda that must give nothing."""


@pytest.mark.parametrize("piece", [1_000, 777, 9_001])
@pytest.mark.parametrize("room", [1, 2, 3])
def test_a_host_with_little_room_still_gives_everything(box: Box, room: int, piece: int) -> None:
    store = WideStore(DATA, room=room, piece=piece)
    host = EagerHost(8)
    assert box.bring(store, host) == WHAT.digest.hex
    assert box.is_whole()
    assert store.most <= room


@pytest.mark.parametrize("error", [Unavailable("x"), NotFound("x"), Corrupt("x")])
def test_what_goes_wrong_for_a_helper_is_brought_by_the_others(box: Box, error: BundleError) -> None:
    store = WideStore(DATA)
    caller = threading.get_ident()

    def fail_helpers(_at: int) -> None:
        if threading.get_ident() != caller:
            raise error

    store.before_piece = fail_helpers
    assert box.bring(store, EagerHost(4)) == WHAT.digest.hex
    assert box.is_whole()


def test_helpers_finish_what_the_first_connection_was_refused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    store = WideStore(DATA)
    caller, given_back = threading.get_ident(), threading.Event()
    end = segments.Segments.end

    def end_and_tell(self: segments.Segments, lease: segments.Lease) -> None:
        end(self, lease)
        if threading.get_ident() == caller:
            given_back.set()

    def refuse_caller(at: int) -> None:
        if at >= 1_000:
            if threading.get_ident() == caller:
                raise Unavailable("busy")
            # A helper that had nothing to do any more would have left by then.
            given_back.wait(10)

    monkeypatch.setattr(segments.Segments, "end", end_and_tell)
    store.before_piece = refuse_caller
    assert box.bring(store, EagerHost(2)) == WHAT.digest.hex
    assert box.is_whole()


def test_without_anybody_else_the_refusal_is_raised(box: Box) -> None:
    store = WideStore(DATA)
    store.before_piece = after(50, Unavailable("gone"))
    with pytest.raises(Unavailable, match="gone"):
        box.bring(store, EagerHost(4))
    assert box.noted().total == box.received > 0


def test_a_host_without_ranges_sends_it_once(box: Box) -> None:
    store = WideStore(DATA, ranges=False)
    host = EagerHost(8)
    assert box.bring(store, host) == WHAT.digest.hex
    assert box.is_whole()
    assert not host.ranges
    assert store.sent == 200_000


def test_going_on_at_a_host_without_ranges(box: Box) -> None:
    box.hold((0, 50_000))
    store = WideStore(DATA, ranges=False)
    assert box.bring(store, EagerHost(8)) == WHAT.digest.hex
    assert box.is_whole()
    assert (box.received, store.sent) == (150_000, 200_000)


# --- stops


@pytest.mark.parametrize("room", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 30, 150])
def test_a_failure_leaves_what_came_and_it_is_gone_on_with(box: Box, room: int, count: int) -> None:
    store = WideStore(DATA)
    store.before_piece = after(count, Unavailable("cut"))
    with pytest.raises(Unavailable):
        box.bring(store, EagerHost(room))
    kept = box.noted().total
    assert kept == box.received == sum(box.told)
    assert kept >= min(count, 1) * 1_000
    again = WideStore(DATA)
    assert box.bring(again, EagerHost(room)) == WHAT.digest.hex
    assert box.file.read_bytes() == DATA
    assert box.received == 200_000 - kept
    assert again.sent <= box.received + room * 1_000  # the pieces at which leases were cut


@pytest.mark.parametrize("room", [1, 4])
def test_cancelling_stops_at_the_next_piece(box: Box, room: int) -> None:
    run = Run()
    store = WideStore(DATA)
    store.before_piece = after(60, call=run.cancel)
    with pytest.raises(Interrupted):
        box.bring(store, EagerHost(room), run)
    assert store.sent <= (60 + room) * 1_000
    assert box.noted().total >= 60_000 - room * 1_000


def test_a_full_disk_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(receive, "write_at", full)
    with pytest.raises(DiskFull):
        box.bring(WideStore(DATA), EagerHost(4))
    assert box.noted().total == 0


def test_bytes_that_cannot_be_synced_are_not_noted(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(receive, "sync_data", broken)
    with pytest.raises(DiskError):
        box.bring(WideStore(DATA))
    assert box.journal.read().total == 0


def test_a_file_cut_by_somebody_else_is_told(box: Box) -> None:
    box.hold((0, 200_000))
    os.ftruncate(box.out, 100_000)
    with pytest.raises(DiskError, match="cut short"):
        box.bring(WideStore(DATA))


# --- noting


def test_bytes_are_synced_before_they_are_noted(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    durable = b""
    batches = []

    def sync(descriptor: int) -> None:
        nonlocal durable
        durable = os.pread(descriptor, WHAT.size, 0)
        os.fsync(descriptor)

    def append(journal: Journal, ranges: tuple[Range, ...]) -> None:
        batches.append(sum(stop - start for start, stop in ranges))
        assert all(durable[start:stop] == DATA[start:stop] for start, stop in ranges)
        real(journal, ranges)

    real = Journal.append
    monkeypatch.setattr(receive, "sync_data", sync)
    monkeypatch.setattr(Journal, "append", append)
    box.bring(WideStore(DATA), EagerHost(4))
    assert batches[-1] == 200_000
    assert box.journal.read().prefix == 200_000


def test_a_full_batch_is_noted_before_the_end(box: Box) -> None:
    noted = threading.Event()
    stop = observe_checkpoints(lambda name: noted.set() if name == "part noted" else None)
    store = WideStore(DATA)

    def late(at: int) -> None:
        if at >= 100_000:
            assert noted.wait(10)

    store.before_piece = late
    try:
        box.bring(store)
    finally:
        stop()
    assert box.is_whole()
