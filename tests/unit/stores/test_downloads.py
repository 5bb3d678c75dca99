"""Downloads against the in-process registry: resuming, ranges, lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from modelops_bundle.errors import Corrupt, NotFound, Unavailable
from modelops_bundle.events import Event, Retrying, Run
from modelops_bundle.model.ports import Parts
from modelops_bundle.net.client import Client
from modelops_bundle.net.options import NetOptions
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing.actions import (
    Action,
    Body,
    Cut,
    Endless,
    Gzip,
    Headers,
    Html,
    IgnoreRange,
    Long,
    Refuse,
    Reset,
    Short,
    Stall,
    Status,
)
from modelops_bundle.testing.registry import Registry
from modelops_bundle.testing.store_contract import describe, put, read

DATA = os.urandom(3 * 1024 * 1024)
WHAT = describe(DATA)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.protocol.repository("team/model").blobs[str(WHAT.digest)] = DATA
        yield registry


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def store(registry: Registry, events: list[Event]) -> Iterator[RegistryStore]:
    with Client(run=Run(emit=events.append), policy=Policy(base=0.0)) as client:
        yield RegistryStore(client, registry.host, "team/model")


def blobs(method: str, path: str) -> bool:
    return method == "GET" and "/blobs/" in path


def ranges(registry: Registry) -> list[str | None]:
    return [one.headers.get("range") for one in registry.asked("GET", "/blobs/")]


def test_the_whole_is_asked_for_without_range(registry: Registry, store: RegistryStore) -> None:
    assert read(store, WHAT) == DATA
    assert ranges(registry) == [None]


def test_a_part_is_asked_for_by_range(registry: Registry, store: RegistryStore) -> None:
    assert read(store, WHAT, 10, 20) == DATA[10:20]
    assert read(store, WHAT, 10) == DATA[10:]
    assert ranges(registry) == ["bytes=10-19", f"bytes=10-{len(DATA) - 1}"]


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_body_goes_on_where_it_ended(
    registry: Registry, store: RegistryStore, events: list[Event], reset: bool
) -> None:
    registry.fault(blobs, Cut(1_000_000, reset))
    assert read(store, WHAT) == DATA
    # What an RST throws away in the kernel has to come again.
    assert ranges(registry) == [None, f"bytes=1000000-{len(DATA) - 1}"] or reset
    assert [event.key for event in events if isinstance(event, Retrying)] == [str(WHAT.digest)]


def test_a_long_download_survives_any_number_of_cuts(registry: Registry, store: RegistryStore) -> None:
    registry.fault(blobs, Cut(0), times=4)
    assert read(store, WHAT) == DATA
    registry.fault(blobs, Cut(1_048_576), times=None)
    assert read(store, WHAT) == DATA


def test_without_progress_patience_ends(registry: Registry, store: RegistryStore) -> None:
    registry.fault(blobs, Cut(10), times=None)
    with pytest.raises(Unavailable):
        read(store, WHAT)
    assert len(ranges(registry)) == 6


def test_a_cut_where_ranges_are_ignored(registry: Registry, store: RegistryStore) -> None:
    registry.fault(blobs, Cut(2_000_000))
    registry.fault(blobs, IgnoreRange(), times=None)
    assert read(store, WHAT) == DATA


def test_a_part_where_ranges_are_ignored(registry: Registry, store: RegistryStore) -> None:
    registry.fault(blobs, IgnoreRange(), times=None)
    assert read(store, WHAT, 1_000_000, 1_000_010) == DATA[1_000_000:1_000_010]
    assert read(store, WHAT, 2_000_000) == DATA[2_000_000:]
    assert read(store, WHAT, 0, 5) == DATA[:5]


@pytest.mark.parametrize("action", [Status(500), Status(503), Status(429), Reset(), Html()])
def test_a_bad_start_is_tried_again(registry: Registry, store: RegistryStore, action: Action) -> None:
    registry.fault(blobs, action, times=2)
    assert read(store, WHAT) == DATA


def test_a_blob_that_a_replica_does_not_have_yet(registry: Registry, store: RegistryStore) -> None:
    registry.fault(blobs, Refuse(404, "BLOB_UNKNOWN"))
    assert read(store, WHAT) == DATA
    registry.fault(blobs, Refuse(404, "BLOB_UNKNOWN"), times=None)
    with pytest.raises(NotFound):
        read(store, WHAT)


@pytest.mark.parametrize("action", [Short(), Long(), Body(b"short"), Gzip(), Endless(), Html()])
def test_lies_about_the_body_are_errors(registry: Registry, store: RegistryStore, action: Action) -> None:
    registry.fault(blobs, action, times=None)
    with pytest.raises((Corrupt, Unavailable)):
        read(store, WHAT)


def test_an_endless_body_ends_at_the_first_byte_too_many(registry: Registry, store: RegistryStore) -> None:
    registry.fault(blobs, Endless(), times=None)
    got = 0
    with pytest.raises(Corrupt, match="more than"), store.open(WHAT) as chunks:
        for chunk in chunks:
            got += len(chunk)
    assert got <= WHAT.size
    assert len(ranges(registry)) == 1


@pytest.mark.parametrize(
    "said",
    [
        "bytes 11-20/3145728",
        "bytes 10-20/3145728",
        "bytes 10-19/99",
        "bytes 0-9/3145728",
        "10-19",
        "",
        "bytes */3145728",
    ],
)
def test_another_range_than_asked_is_refused(registry: Registry, store: RegistryStore, said: str) -> None:
    registry.fault(blobs, Headers({"Content-Range": said}), times=None)
    with pytest.raises(Corrupt):
        read(store, WHAT, 10, 20)


def test_an_unknown_total_is_fine(registry: Registry, store: RegistryStore) -> None:
    registry.fault(blobs, Headers({"Content-Range": "bytes 10-19/*"}), times=None)
    assert read(store, WHAT, 10, 20) == DATA[10:20]


@pytest.mark.parametrize("action", [Status(206, body=b"x"), Status(416)])
def test_statuses_that_make_no_sense(registry: Registry, store: RegistryStore, action: Action) -> None:
    registry.fault(blobs, action, times=None)
    with pytest.raises(Corrupt):
        read(store, WHAT)


def test_leaving_early_closes_the_connection_only(registry: Registry, store: RegistryStore) -> None:
    with store.open(WHAT) as chunks:
        next(chunks)
    assert read(store, put(store, b"next")) == b"next"


# --- parts


def part(store: RegistryStore, start: int, stop: int, hindered: Callable[[], None] = lambda: None) -> bytes | None:
    with store.part(WHAT, start, stop, hindered) as chunks:
        return None if chunks is None else b"".join(chunks)


def test_the_store_offers_parts(registry: Registry, store: RegistryStore) -> None:
    assert isinstance(store, Parts)
    assert store.host == registry.host


@pytest.mark.parametrize(("start", "stop"), [(0, len(DATA)), (10, 20), (0, 1), (2_000_000, len(DATA))])
def test_a_part_is_what_was_asked_for(store: RegistryStore, start: int, stop: int) -> None:
    assert part(store, start, stop) == DATA[start:stop]


def test_a_host_without_ranges_says_so_before_it_sends_all(registry: Registry, store: RegistryStore) -> None:
    registry.fault(blobs, IgnoreRange(), times=None)
    assert part(store, 10, 20) is None
    # The whole is no part.
    assert part(store, 0, len(DATA)) == DATA


def test_a_cut_part_goes_on_where_it_ended(registry: Registry, store: RegistryStore) -> None:
    hindered: list[None] = []
    registry.fault(blobs, Cut(500_000))
    assert part(store, 1_000_000, 2_000_000, lambda: hindered.append(None)) == DATA[1_000_000:2_000_000]
    assert ranges(registry) == ["bytes=1000000-1999999", "bytes=1500000-1999999"]
    assert hindered == []  # an accident, not a lack of room


@pytest.mark.parametrize("action", [Status(429), Status(503), Status(500), Reset()])
def test_a_host_that_refuses_is_told_of_before_waiting(
    registry: Registry, store: RegistryStore, events: list[Event], action: Action
) -> None:
    waits: list[int] = []
    registry.fault(blobs, action, times=2)
    assert part(store, 10, 20, lambda: waits.append(len(events))) == DATA[10:20]
    retries = [number for number, event in enumerate(events) if isinstance(event, Retrying)]
    assert waits == retries


def test_who_is_told_may_end_it(registry: Registry, store: RegistryStore, events: list[Event]) -> None:
    class Enough(Exception):
        pass

    def give_up() -> None:
        raise Enough

    registry.fault(blobs, Status(429, {"Retry-After": "60"}), times=None)
    with pytest.raises(Enough):
        part(store, 10, 20, give_up)
    assert len(ranges(registry)) == 1
    assert not any(isinstance(event, Retrying) for event in events)


def test_silence_is_told_of(registry: Registry) -> None:
    hindered: list[None] = []
    stall = Stall()
    registry.fault(blobs, stall)
    with Client(NetOptions(stall_timeout=0.2), policy=Policy(base=0.0)) as client:
        store = RegistryStore(client, registry.host, "team/model")
        assert part(store, 10, 20, lambda: hindered.append(None)) == DATA[10:20]
    stall.release()
    assert len(hindered) == 1


@pytest.mark.parametrize("said", ["bytes 11-20/3145728", "bytes 0-9/3145728", ""])
def test_a_part_of_something_else_is_refused(registry: Registry, store: RegistryStore, said: str) -> None:
    registry.fault(blobs, Headers({"Content-Range": said}), times=None)
    with pytest.raises(Corrupt):
        part(store, 10, 20)


def test_an_absent_part(registry: Registry, store: RegistryStore) -> None:
    registry.fault(blobs, Refuse(404, "BLOB_UNKNOWN"), times=None)
    with pytest.raises(NotFound):
        part(store, 10, 20)
