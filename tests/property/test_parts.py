"""Whatever order segments end in and wherever a download is killed: no byte is believed that is not on the disk."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.disk.allocate import reserve
from modelops_bundle.errors import Unavailable
from modelops_bundle.events import Run
from modelops_bundle.transfer import receive, segments
from modelops_bundle.transfer.journal import Journal
from modelops_bundle.transfer.receive import Part, Reception
from modelops_bundle.transfer.segments import Range, Segments, Spans
from tests.support.things import blob
from tests.support.wide import EagerHost, WideStore

SIZE = 20_000
DATA = random.Random(3).randbytes(SIZE)
WHAT = blob(DATA)


class Disk:
    """What of a file would survive a power cut: all that was written when it was last synced, and of later writes any."""

    def __init__(self) -> None:
        self.durable = bytes(SIZE)

    def sync(self, descriptor: int) -> None:
        self.durable = os.pread(descriptor, SIZE, 0)

    def believe(self, ranges: Iterable[Range]) -> None:
        for start, stop in ranges:
            assert self.durable[start:stop] == DATA[start:stop], "noted before it was synced"

    def survivors(self, now: bytes, luck: random.Random, block: int = 512) -> bytes:
        kept = bytearray(self.durable)
        for at in range(0, SIZE, block):
            if luck.random() < 0.5:
                kept[at : at + block] = now[at : at + block]
        return bytes(kept)


class Killing(WideStore):
    """Shuffles its connections, and dies at a piece; what its file was then is kept by `look`."""

    def __init__(self, piece: int, luck: random.Random, last: int) -> None:
        super().__init__(DATA, piece=piece)
        self._luck = luck
        self._last = last
        self._turn = threading.Condition()
        self.before_piece = self._next

    def _next(self, _at: int) -> None:
        with self._turn:
            # Whoever is woken first goes on first: an order of the scheduler's and of luck's.
            if self._luck.random() < 0.5:
                self._turn.wait(0.0002)
            self._turn.notify_all()
            self._last -= 1
            if self._last < 0:
                raise Unavailable("killed")


@given(
    seed=st.integers(0, 2**32),
    piece=st.integers(100, 3_000),
    room=st.integers(1, 6),
    segment=st.integers(500, 6_000),
    batch=st.integers(1, 8_000),
    lives=st.lists(st.integers(0, 60), max_size=3),
)
def test_a_killed_download_goes_on_from_true_bytes_only(
    seed: int, piece: int, room: int, segment: int, batch: int, lives: list[int]
) -> None:
    luck = random.Random(seed)
    disk = Disk()
    real = Journal.append

    def append(journal: Journal, ranges: Iterable[Range]) -> None:
        ranges = list(ranges)
        disk.believe(ranges)
        real(journal, ranges)

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(segments, "SEGMENT", segment),
        mock.patch.object(segments, "SMALLEST", max(2, segment // 2)),
        mock.patch.object(receive, "SPLIT", 0),
        mock.patch.object(receive, "BATCH", batch),
        mock.patch.object(receive, "sync_data", disk.sync),
        mock.patch.object(Journal, "append", append),
    ):
        file, notes = Path(folder, "part"), Path(folder, "journal")
        journal = Journal(notes, WHAT)
        out = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            reserve(out, SIZE)
            journal.start()
            for last in lives:
                with suppress(Unavailable):
                    _bring(out, journal, Killing(piece, luck, last), room)
                # The power goes: some of what was not synced is lost, and the end of the journal may be torn.
                os.pwrite(out, disk.survivors(file.read_bytes(), luck), 0)
                torn = notes.read_bytes()
                notes.write_bytes(torn[: max(0, len(torn) - luck.choice([0, 0, 1, 19, 21]))])
                disk.believe(journal.read())
            digest = _bring(out, journal, WideStore(DATA, piece=piece), room)
            assert digest == WHAT.digest.hex
            assert file.read_bytes() == DATA
        finally:
            os.close(out)


def _bring(out: int, journal: Journal, store: WideStore, room: int) -> str:
    here = journal.read()
    journal.start(here)
    return Reception(Part(out, WHAT, here, journal), store, Run(), lambda _: None, EagerHost(room)).bring()


@given(st.data())
def test_every_byte_is_handed_out_until_it_came_and_to_one_at_a_time(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 300))
    here = Spans(data.draw(st.lists(st.tuples(st.integers(0, size), st.integers(0, size)), max_size=4)))
    with mock.patch.object(segments, "SEGMENT", 20), mock.patch.object(segments, "SMALLEST", 8):
        work = Segments(size, here)
        leases: list[segments.Lease] = []
        for _ in range(data.draw(st.integers(0, 60))):
            step = data.draw(st.sampled_from(["take", "claim", "end"]))
            if step == "take":
                lease = work.take(data.draw(st.integers(1, 5)))
                if lease is not None:
                    leases.append(lease)
            elif leases:
                lease = data.draw(st.sampled_from(leases))
                if step == "claim":
                    start, stop = work.claim(lease, data.draw(st.integers(0, 30)))
                    assert all(b <= start or stop <= a for a, b in here if start < stop), "came twice"
                    here.add(start, stop)
                else:
                    leases.remove(lease)
                    work.end(lease)
            leased = sorted((lease.at, lease.stop) for lease in leases if lease.left)
            assert all(a[1] <= b[0] for a, b in pairwise(leased)), "two bring the same"
        for lease in leases:
            here.add(*work.claim(lease, size))
            work.end(lease)
        while (left := work.take()) is not None:
            here.add(*work.claim(left, size))
            work.end(left)
    assert list(here.gaps(size)) == []
