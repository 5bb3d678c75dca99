"""Chunks out of packs far away: the requests made for them, and what happens when the answers are wrong."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from random import Random

import pytest

from modelops_bundle.errors import BundleError, Corrupt, DiskError, Interrupted, NotFound
from modelops_bundle.events import Event, Limits, Retrying, Run
from modelops_bundle.model.chunkmap import CODECS, ChunkList, ChunkPack
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Reader
from modelops_bundle.transfer.hosts import Host
from modelops_bundle.transfer.ranges import NoRanges, Ranges, Room, spans
from tests.support.chunked import Version, cut, delta, listed, plain

KIB = 1024


def asked(sizes: list[int], numbers: list[int]) -> list[tuple[int, int, list[int]]]:
    found = spans(0, list(accumulate(sizes, initial=0)), numbers)
    return [(span.start, span.stop, list(span.numbers)) for span in found]


# --- which requests --------------------------------------------------------------------------------------------------


def test_neighbours_are_one_request() -> None:
    assert asked([10] * 100, [3, 4, 5]) == [(30, 60, [3, 4, 5])]


def test_what_is_near_is_one_request_and_what_is_far_is_another() -> None:
    sizes = [KIB] * 2000
    assert asked(sizes, [0, 129]) == [(0, 130 * KIB, [0, 129])]
    assert asked(sizes, [0, 130]) == [(0, KIB, [0]), (130 * KIB, 131 * KIB, [130])]


def test_no_request_is_longer_than_a_span() -> None:
    mib = 1024 * KIB
    found = asked([mib] * 100, list(range(40)))
    assert [(stop - start) // mib for start, stop, _ in found] == [16, 16, 8]
    assert [n for _, _, numbers in found for n in numbers] == list(range(40))


def test_most_of_a_pack_is_all_of_it() -> None:
    sizes = [500 * KIB] * 8
    assert asked(sizes, [0, 1, 2, 5, 6, 7]) == [(0, 4000 * KIB, [0, 1, 2, 5, 6, 7])]
    assert asked(sizes, [0, 1, 5, 6, 7]) == [(0, 1000 * KIB, [0, 1]), (2500 * KIB, 4000 * KIB, [5, 6, 7])]


def test_a_large_pack_that_is_wanted_whole_takes_several_requests() -> None:
    mib = 1024 * KIB
    assert [(stop - start) // mib for start, stop, _ in asked([mib] * 100, list(range(100)))] == [64, 36]


def test_what_must_be_held_meanwhile_ends_a_request() -> None:
    mib = 1024 * KIB
    offsets = list(accumulate([1000] * 64, initial=0))
    found = list(spans(0, offsets, list(range(64)), lambda _number: mib))
    assert [len(span.numbers) for span in found] == [16, 16, 16, 16]


# --- what comes ------------------------------------------------------------------------------------------------------

DATA = Random(5).randbytes(400 * KIB)
BASE = plain({"w": cut(DATA, 4 * KIB)})


class Far:
    """A host with the blobs of a version; notes what it was asked for, and spoils what a test wants spoiled."""

    host = "far"

    def __init__(self, version: Version, *, ranges: bool = True) -> None:
        self.blobs = dict(version.blobs)
        self.asked: list[tuple[int, int]] = []
        self.spoil: Callable[[int, bytes], bytes] = lambda _start, data: data
        self._ranges = ranges

    def has(self, what: Descriptor) -> bool:
        return what.digest in self.blobs

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        self.asked.append((start, what.size if stop is None else stop))
        if what.digest not in self.blobs:
            raise NotFound("gone")
        data = self.spoil(start, self.blobs[what.digest][start:stop])
        yield iter(cut(data, 700))

    @contextmanager
    def part(self, what: Descriptor, start: int, stop: int, hindered: Callable[[], None]) -> Iterator[Chunks | None]:
        if not self._ranges and (start, stop) != (0, what.size):
            yield None
            return
        with self.open(what, start, stop) as chunks:
            yield chunks


class Where:
    """All packs on one host, except for those that are `near`."""

    def __init__(self, far: Reader, near: Reader | None = None) -> None:
        self.far = far
        self.near = near
        self.host = Host()
        self.lanes = threading.Semaphore(4)
        self.room = Room()

    def reader(self, pack: Descriptor) -> tuple[Reader, Host | None]:
        if self.near is not None and self.near.has(pack):
            return self.near, None
        return self.far, self.host

    def distrust(self, pack: Descriptor, reader: Reader) -> bool:
        assert reader is self.near
        self.near = None
        return True


class Taken(dict[tuple[int, int], bytes]):
    """What was delivered, by pack and number; twice is an error."""

    def __call__(self, pack: int, number: int, data: bytes) -> None:
        assert (pack, number) not in self
        self[pack, number] = data


def nothing(_digest: bytes, _size: int) -> bytes | None:
    return None


def brought(version: Version, far: Far, wanted: dict[int, list[int]], run: Run | None = None) -> tuple[Ranges, Taken]:
    taken = Taken()
    fetching = Ranges(version.chunks.packs, Where(far), nothing, lambda _digest: False, run or Run())
    fetching.fetch(wanted, taken)
    return fetching, taken


def test_what_is_wanted_comes_and_little_else() -> None:
    far = Far(BASE)
    fetching, taken = brought(BASE, far, {0: [1, 2, 50, 99]})
    assert taken == {(0, n): DATA[n * 4 * KIB : (n + 1) * 4 * KIB] for n in (1, 2, 50, 99)}
    assert sorted(far.asked) == [(4 * KIB, 12 * KIB), (200 * KIB, 204 * KIB), (396 * KIB, 400 * KIB)]
    assert fetching.received == 16 * KIB


def test_nothing_wanted_asks_for_nothing() -> None:
    far = Far(BASE)
    assert brought(BASE, far, {})[1] == {}
    assert far.asked == []


def test_a_damaged_chunk_is_asked_for_once_more() -> None:
    far, events = Far(BASE), list[Event]()
    spoiled: list[int] = []

    def spoil(start: int, data: bytes) -> bytes:
        if spoiled or start > 12 * KIB:
            return data
        spoiled.append(start)
        return data[: 9 * KIB] + b"?" + data[9 * KIB + 1 :]

    far.spoil = spoil
    _, taken = brought(BASE, far, {0: [1, 2, 3, 4, 90]}, Run(events.append))
    assert set(taken) == {(0, n) for n in (1, 2, 3, 4, 90)}
    # From the chunk that was damaged on; what came before it is not asked for again.
    assert sorted(far.asked) == [(4 * KIB, 20 * KIB), (12 * KIB, 20 * KIB), (360 * KIB, 364 * KIB)]
    assert [event.key for event in events if isinstance(event, Retrying)] == [str(BASE.chunks.packs[0].blob.digest)]


def test_damage_that_stays_is_corrupt() -> None:
    far = Far(BASE)
    far.spoil = lambda _start, data: bytes(len(data))
    with pytest.raises(Corrupt, match="is not what its list says"):
        brought(BASE, far, {0: [1, 2, 50]})
    assert far.asked.count((4 * KIB, 12 * KIB)) <= 2


def test_an_answer_that_ends_early_is_corrupt() -> None:
    far = Far(BASE)
    far.spoil = lambda _start, data: data[:-1]
    with pytest.raises(Corrupt, match="it ends at byte"):
        brought(BASE, far, {0: [1]})


def test_a_pack_that_is_gone_is_not_found() -> None:
    far = Far(BASE)
    far.blobs.clear()
    with pytest.raises(NotFound):
        brought(BASE, far, {0: [1, 50]})


def test_a_host_without_ranges_is_remembered() -> None:
    far = Far(BASE, ranges=False)
    where = Where(far)
    fetching = Ranges(BASE.chunks.packs, where, nothing, lambda _digest: False, Run())
    with pytest.raises(NoRanges):
        fetching.fetch({0: [1, 90]}, Taken())
    assert not where.host.ranges
    # All of it can be had; and nobody asks for a part again.
    taken = Taken()
    fetching.fetch({0: list(range(100))}, taken)
    assert len(taken) == 100
    with pytest.raises(NoRanges):
        fetching.fetch({0: [1]}, Taken())
    assert far.asked == [(0, 400 * KIB)]


class Counting(Far):
    """Knows how many requests were under way at a time, at most."""

    most = now = 0
    lock = threading.Lock()

    @contextmanager
    def part(self, what: Descriptor, start: int, stop: int, hindered: Callable[[], None]) -> Iterator[Chunks | None]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        with super().part(what, start, stop, hindered) as chunks:
            yield chunks
        with self.lock:
            self.now -= 1


def test_one_connection_is_one_at_a_time() -> None:
    far = Counting(BASE)
    brought(BASE, far, {0: [0, 40, 80]}, Run(limits=Limits(connections=1)))
    assert far.most == 1


def test_all_that_share_the_lanes_are_counted_together() -> None:
    far = Counting(BASE)
    where = Where(far)
    where.lanes = threading.Semaphore(1)

    def one() -> None:
        fetching = Ranges(BASE.chunks.packs, where, nothing, lambda _digest: False, Run())
        fetching.fetch({0: list(range(0, 100, 40))}, Taken())

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(far.asked), far.most) == (12, 1)


def test_all_that_share_memory_are_counted_together() -> None:
    """What a list says of a chunk costs the reader memory: as much as there is, however many lanes there are."""
    where = Where(Counting(BASE))
    where.room, where.lanes = Room(1), threading.Semaphore(100)

    def one() -> None:
        fetching = Ranges(BASE.chunks.packs, where, nothing, lambda _digest: False, Run())
        fetching.fetch({0: list(range(0, 100, 40))}, Taken())

    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(one) for _ in range(4)]:
            job.result()
    far = where.far
    assert isinstance(far, Counting)
    assert (len(far.asked), far.most) == (12, 1)


def test_memory_is_for_all_that_fit_and_for_one_that_never_does() -> None:
    room, order = Room(10), list[str]()

    def take(amount: int) -> None:
        with room.taken(amount):
            order.append(f"{amount}")

    with ThreadPoolExecutor(2) as pool:
        with room.taken(4), room.taken(6):
            waiting = [pool.submit(take, 1), pool.submit(take, 100)]
            order.append("full")
        for job in waiting:
            job.result()
        take(100)
    assert (order[0], sorted(order[1:])) == ("full", ["1", "100", "100"])


@pytest.mark.parametrize(
    ("codec", "needed"), [("none", 8 * KIB), ("zstd", 8 * KIB + 5), ("xor+bp2+zstd", 20 * KIB + 5)]
)
def test_an_encoded_chunk_takes_more_than_comes(codec: str, needed: int) -> None:
    """A few bytes that were sent may be sixteen million; the base of a difference that must come is one more chunk."""
    far = Far(DIFFERENT)
    stored = 4 * KIB if codec == "none" else 5
    own = ChunkList(
        array("I", [4 * KIB]),
        bytes(32),
        array("I", [stored]),
        bytes([CODECS.index(codec)]),
        {0: (0, 3)} if codec.startswith("xor") else {},
    )
    asked: list[int] = []

    class Noting(Room):
        @contextmanager
        def taken(self, amount: int) -> Iterator[None]:
            asked.append(amount)
            yield

    where = Where(far)
    where.room = Noting()
    what = Descriptor("x/y", Digest.of(b""), stored)
    fetching = Ranges((BASE.chunks.packs[0], ChunkPack(what, own)), where, nothing, lambda _digest: False, Run())
    with pytest.raises(NotFound):
        fetching.fetch({1: [0]}, Taken())
    assert asked == [needed]


def test_somebody_who_asks_to_stop_is_heard() -> None:
    run = Run()
    run.cancel()
    with pytest.raises(Interrupted):
        brought(BASE, Far(BASE), {0: [0, 40, 80]}, run)


# --- differences, and packs that are here ----------------------------------------------------------------------------

CHUNKS = cut(DATA, 4 * KIB)
CHANGED = {n: bytes([CHUNKS[n][0] ^ 1]) + CHUNKS[n][1:] for n in (3, 4, 60)}
NEW = [CHANGED.get(n, chunk) for n, chunk in enumerate(CHUNKS)]
DIFFERENT = delta({"w": NEW}, BASE, codec="xor+bp2+zstd", xor={new: CHUNKS[n] for n, new in CHANGED.items()})


def test_a_difference_brings_what_it_is_to() -> None:
    far = Far(DIFFERENT)
    _, taken = brought(DIFFERENT, far, {1: [0, 1, 2]})
    assert list(taken.values()) == list(CHANGED.values())
    # The pack with all three, and two requests for the chunks that they are differences to.
    assert sorted(far.asked)[1:] == [(12 * KIB, 20 * KIB), (240 * KIB, 244 * KIB)]


def test_a_difference_to_what_is_here_brings_nothing_else() -> None:
    far, taken = Far(DIFFERENT), Taken()
    held = {DIFFERENT.chunks.packs[0].chunks.digest(n): CHUNKS[n] for n in CHANGED}
    fetching = Ranges(
        DIFFERENT.chunks.packs, Where(far), lambda digest, _size: held.get(digest), held.__contains__, Run()
    )
    fetching.fetch({1: [0, 1, 2]}, taken)
    assert list(taken.values()) == list(CHANGED.values())
    assert len(far.asked) == 1


def test_what_was_said_to_be_here_and_is_not_is_brought() -> None:
    far, taken = Far(DIFFERENT), Taken()
    where = Where(far)
    # It does not wait for a lane while it has one.
    where.lanes = threading.Semaphore(1)
    fetching = Ranges(DIFFERENT.chunks.packs, where, nothing, lambda _digest: True, Run())
    fetching.fetch({1: [0, 1, 2]}, taken)
    assert list(taken.values()) == list(CHANGED.values())
    assert len(far.asked) == 4
    assert where.lanes.acquire(blocking=False)


def test_a_pack_that_is_here_is_read_here() -> None:
    far, near = Far(BASE), Far(BASE)
    fetching, taken = Ranges(BASE.chunks.packs, Where(far, near), nothing, lambda _digest: False, Run()), Taken()
    fetching.fetch({0: [1, 2, 50]}, taken)
    assert len(taken) == 3
    assert far.asked == []
    assert fetching.received == 0


@pytest.mark.parametrize("gone", [False, True], ids=["damaged", "gone"])
def test_a_pack_here_that_is_wrong_is_brought(gone: bool) -> None:
    far, near = Far(BASE), Far(BASE)
    if gone:
        near.open = lambda *_: (_ for _ in ()).throw(NotFound("just now"))  # type: ignore[method-assign, assignment]
    near.spoil = lambda _start, data: bytes(len(data))
    fetching, taken = Ranges(BASE.chunks.packs, Where(far, near), nothing, lambda _digest: False, Run()), Taken()
    fetching.fetch({0: [1, 2]}, taken)
    assert taken == {(0, 1): CHUNKS[1], (0, 2): CHUNKS[2]}
    assert far.asked == [(4 * KIB, 12 * KIB)]


@pytest.mark.parametrize("error", [NotFound("pruned"), DiskError("io"), None], ids=["gone", "unreadable", "damaged"])
@pytest.mark.parametrize("held", [False, True])
def test_what_differences_are_to_is_brought_when_it_is_wrong_here(error: BundleError | None, held: bool) -> None:
    """It was the pack of the difference that was not believed any more, and that is right."""
    far, near = Far(DIFFERENT), Far(BASE)
    if error is not None:
        near.open = lambda *_: (_ for _ in ()).throw(error)  # type: ignore[method-assign, assignment]
    near.spoil = lambda _start, data: bytes(len(data))
    fetching = Ranges(DIFFERENT.chunks.packs, Where(far, near), nothing, lambda _digest: held, Run())
    taken = Taken()
    fetching.fetch({1: [0, 1, 2]}, taken)
    assert list(taken.values()) == list(CHANGED.values())


def test_a_whole_pack_that_is_not_what_its_list_says_is_corrupt() -> None:
    """Elsewhere there is nothing else: not even a host without ranges is asked."""
    far, near = Far(BASE, ranges=False), Far(BASE)
    near.spoil = lambda _start, data: bytes(len(data))
    where = Where(far, near)
    where.distrust = lambda _pack, _reader: False  # type: ignore[method-assign]
    fetching = Ranges(BASE.chunks.packs, where, nothing, lambda _digest: False, Run())
    with pytest.raises(Corrupt):
        fetching.fetch({0: [1, 2]}, Taken())
    assert (far.asked, len(near.asked)) == ([], 2)


def test_lists_that_lie_about_the_place_are_corrupt() -> None:
    """Never bytes of another chunk: each is what its digest says."""
    pack = BASE.chunks.packs[0]
    turned = list(reversed(CHUNKS))
    lying = ChunkPack(Descriptor("x/y", Digest.of(DATA), pack.blob.size), listed(turned))
    far = Far(BASE)
    fetching = Ranges((lying,), Where(far), nothing, lambda _digest: False, Run())
    with pytest.raises(Corrupt):
        fetching.fetch({0: [0]}, Taken())
