"""Copying blobs into a store."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelops_bundle.errors import Corrupt, Interrupted, NotFound
from modelops_bundle.events import Advanced, Event, Finished, ItemStarted, Limits, Run, Started
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks, SendFile
from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.testing.contents import InFile
from modelops_bundle.transfer.copy import Content, copy_blobs
from tests.support.things import blob


class Source:
    def __init__(self, *blobs: bytes, lies: Mapping[bytes, bytes] | None = None) -> None:
        self.blobs = {blob(data).digest: (lies or {}).get(data, data) for data in blobs}

    def has(self, what: Descriptor) -> bool:
        return what.digest in self.blobs

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        if what.digest not in self.blobs:
            raise NotFound("no")
        data = self.blobs[what.digest][start:stop]
        yield (data[at : at + 3] for at in range(0, len(data), 3))


class Destination:
    """Takes what it does not hold and believes nothing; can fail the first attempts, as an upload that is retried."""

    def __init__(self, *held: bytes, failures: int = 0) -> None:
        self.got: dict[str, bytes] = {str(blob(data).digest): data for data in held}
        self.order: list[int] = []
        self.asked: list[str] = []
        self.failures = failures
        self.lock = threading.Lock()

    def has(self, what: Descriptor) -> bool:
        with self.lock:
            self.asked.append(str(what.digest))
            return str(what.digest) in self.got

    def put(self, what: Descriptor, chunks: Iterable[bytes]) -> None:
        with self.lock:
            if str(what.digest) in self.got:
                return
        for _ in range(self.failures):
            next(iter(chunks))
        data = b"".join(chunks)
        if blob(data).digest != what.digest:
            raise Corrupt("something else")
        with self.lock:
            self.order.append(what.size)
            self.got[str(what.digest)] = data


def wanted(*blobs: bytes) -> list[tuple[Descriptor, str]]:
    return [(blob(data), f"name of {data.decode()[:5]}") for data in blobs]


ONE, TWO, THREE = b"1", b"22222", b"333333333"


@pytest.mark.parametrize("jobs", [1, 4])
def test_missing_blobs_are_sent_and_present_ones_counted(jobs: int) -> None:
    destination = Destination(TWO)
    copied = copy_blobs(wanted(ONE, TWO, THREE), Source(ONE, TWO, THREE), destination, Run(limits=Limits(jobs=jobs)))
    assert set(destination.got.values()) == {ONE, TWO, THREE}
    assert (copied.blobs, copied.size, copied.existing) == (2, 10, 1)


def test_the_largest_goes_first() -> None:
    destination = Destination()
    copy_blobs(wanted(ONE, THREE, TWO), Source(ONE, TWO, THREE), destination, Run(limits=Limits(jobs=1)))
    assert destination.order == [9, 5, 1]


@pytest.mark.parametrize("lie", [b"2222x", b"222222", b"2222", b""])
def test_a_source_that_lies_is_found_out_by_the_store(lie: bytes) -> None:
    with pytest.raises(Corrupt):
        copy_blobs(wanted(TWO), Source(TWO, lies={TWO: lie}), MemoryStore(), Run())


def test_what_is_likely_there_is_asked_for_and_not_read() -> None:
    destination = Destination(TWO)
    likely = {str(blob(TWO).digest), str(blob(ONE).digest)}
    copied = copy_blobs(wanted(ONE, TWO, THREE), Source(ONE, THREE), destination, Run(), likely)
    assert sorted(destination.asked) == sorted(likely)
    assert set(destination.got.values()) == {ONE, TWO, THREE}
    assert (copied.blobs, copied.size, copied.existing) == (2, 10, 1)


def test_what_the_source_lacks_is_not_found() -> None:
    with pytest.raises(NotFound):
        copy_blobs(wanted(ONE), Source(), Destination(), Run())


def test_a_retried_upload_starts_over() -> None:
    destination = Destination(failures=2)
    copied = copy_blobs(wanted(THREE), Source(THREE), destination, Run())
    assert set(destination.got.values()) == {THREE}
    assert (copied.blobs, copied.size) == (1, 9)


def content_of(run: Run) -> Content:
    return Content("key", lambda: Source(THREE).open(blob(THREE)), run)


def test_content_can_be_read_again_from_the_start() -> None:
    content = content_of(Run())
    assert content.sent is False
    assert (b"".join(content), b"".join(content)) == (THREE, THREE)
    assert content.sent is True


def test_cancelling_stops_in_the_middle_of_a_blob() -> None:
    run = Run()
    content = iter(content_of(run))
    next(content)
    run.cancel()
    with pytest.raises(Interrupted):
        next(content)


def test_events_tell_the_whole_story() -> None:
    got: list[Event] = []
    copy_blobs(wanted(ONE, TWO), Source(ONE, TWO), Destination(ONE), Run(emit=got.append, limits=Limits(jobs=1)))
    one, two = (str(blob(data).digest) for data in (ONE, TWO))
    assert got == [
        Started("upload", 2, 6),
        ItemStarted(two, "name of 22222", 5),
        Advanced(two, 3),
        Advanced(two, 2),
        Finished(two, "copied"),
        ItemStarted(one, "name of 1", 1),
        Finished(one, "exists"),
    ]


def test_nothing_wanted_is_nothing_done() -> None:
    got: list[Event] = []
    copied = copy_blobs([], Source(), Destination(), Run(emit=got.append))
    assert (copied.blobs, copied.size, copied.existing, got) == (0, 0, 0, [])


class Mounting(Destination):
    """Takes blobs from one other repository, too."""

    def __init__(self, *elsewhere: bytes) -> None:
        super().__init__()
        self.elsewhere = {str(blob(data).digest): data for data in elsewhere}
        self.wished: list[Sequence[str]] = []

    def mount(self, what: Descriptor, chunks: Iterable[bytes], repositories: Sequence[str]) -> bool:
        self.wished.append(repositories)
        if str(what.digest) in self.elsewhere:
            self.got[str(what.digest)] = self.elsewhere[str(what.digest)]
            return True
        self.put(what, chunks)
        return False


def test_blobs_of_other_repositories_are_taken_from_there() -> None:
    got: list[Event] = []
    destination = Mounting(TWO)
    mounts = {str(blob(TWO).digest): ["team/base"], str(blob(ONE).digest): ["team/base"]}
    run = Run(emit=got.append, limits=Limits(jobs=1))
    copied = copy_blobs(wanted(ONE, TWO, THREE), Source(ONE, THREE), destination, run, mounts=mounts)
    assert set(destination.got.values()) == {ONE, TWO, THREE}
    assert destination.wished == [["team/base"], ["team/base"]]
    assert (copied.blobs, copied.size, copied.existing) == (2, 10, 1)
    outcomes = [event.outcome for event in got if isinstance(event, Finished)]
    assert outcomes == ["copied", "mounted", "copied"]


def test_stores_that_cannot_mount_are_sent_to() -> None:
    destination = Destination()
    copy_blobs(wanted(TWO), Source(TWO), destination, Run(), mounts={str(blob(TWO).digest): ["team/base"]})
    assert set(destination.got.values()) == {TWO}


def test_a_file_stays_one_and_tells_its_progress(tmp_path: Path) -> None:
    data = bytes(700_000)
    file = InFile(tmp_path / "f", data)
    got: list[Event] = []
    content = Content("key", file.open, Run(emit=got.append))
    with content.open() as chunks:
        assert isinstance(chunks, SendFile)
        assert not content.sent
        assert sum(map(len, chunks.spans(100_000))) == 600_000
    assert content.sent
    assert file.spanned == [100_000]
    assert sum(event.amount for event in got if isinstance(event, Advanced)) == 600_000
    with content.open() as chunks:
        assert b"".join(chunks) == data


def test_cancelling_stops_in_the_middle_of_a_file(tmp_path: Path) -> None:
    run = Run()
    with Content("key", InFile(tmp_path / "f", bytes(700_000)).open, run).open() as chunks:
        assert isinstance(chunks, SendFile)
        pieces = chunks.spans()
        next(pieces)
        run.cancel()
        with pytest.raises(Interrupted):
            next(pieces)
