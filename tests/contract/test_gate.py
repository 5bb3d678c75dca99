"""A registry that takes a few requests at once, and a client with many workers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelops_bundle.errors import RateLimited
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Credentials, Given
from modelops_bundle.net.exchange import Request
from modelops_bundle.net.gate import Gate
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing import actions
from modelops_bundle.testing.protocol import Call, Response, refusal
from modelops_bundle.testing.registry import Registry
from modelops_bundle.testing.store_contract import Pieces, describe
from tests.support.canary import secret

ROOM = 4
WORKERS = 16
UPLOADS = 200


class Crowded(actions.Action):
    """Refuses what comes while `room` others are answered, each of which takes a while."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._inside = 0
        self.most = 0
        self.refused = 0

    def before(self, call: Call) -> Call | Response:
        with self._lock:
            if self._inside >= self._room:
                self.refused += 1
                return refusal(429, "TOOMANYREQUESTS", "too many at once")
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(0.004)
        with self._lock:
            self._inside -= 1
        return call


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


def refusals(registry: Registry, policy: Policy | None = None) -> int:
    """How often the registry refused while everything was uploaded."""
    crowded = Crowded()
    registry.fault(lambda *_: True, crowded, times=None)
    contents = [f"content {number}".encode() for number in range(UPLOADS)]
    with Client(sleep=lambda _: None, policy=policy) as client:
        store = RegistryStore(client, registry.host, "team/model")

        def upload(data: bytes) -> None:
            store.put(describe(data), Pieces(data, 1000))

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(upload, contents))
        registry.heal()
        assert all(store.has(describe(data)) for data in contents)
    assert crowded.most == ROOM
    return crowded.refused


def test_a_crowded_registry_is_asked_less_at_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = refusals(registry)
    assert 0 < gated < UPLOADS / 2
    with Registry() as other:
        monkeypatch.setattr(Gate, "complained", lambda *_: None)
        assert refusals(other, Policy(attempts=1_000_000)) > 3 * gated


def test_one_pause_is_for_all_workers(registry: Registry) -> None:
    """Whoever comes after the complaint waits for the end of the pause, and is refused by nobody."""
    slept: list[float] = []
    registry.fault(lambda *_: True, actions.Status(429, {"Retry-After": "60"}), times=1)
    request = Request("GET", f"{registry.url}/v2/", "root")
    with Client(sleep=slept.append) as client:
        client.fetch(request)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: client.fetch(request), range(4)))
    assert [one.status for one in registry.requests] == [429, 200, 200, 200, 200, 200]
    assert all(59 < seconds < 61 for seconds in slept)
    assert len(slept) == 5


def test_a_pause_that_nobody_waits_for_is_everybodys_own_error(registry: Registry) -> None:
    registry.fault(lambda *_: True, actions.Status(503, {"Retry-After": "86400"}), times=None)
    with Client(sleep=lambda _: pytest.fail("nothing to wait for")) as client:
        for _ in range(2):
            with pytest.raises(RateLimited):
                client.fetch(Request("GET", f"{registry.url}/v2/", "root"))


def test_a_streamed_answer_can_feed_an_upload_and_its_login_where_there_is_one_place(registry: Registry) -> None:
    data, password = bytes(3_000_000), secret()
    registry.require_auth("user", password)
    login = Given(registry.host, Credentials("user", password))
    with Client(credentials=login, sleep=lambda _: None) as client:
        source = RegistryStore(client, registry.host, "team/source")
        target = RegistryStore(client, registry.host, "team/target")
        source.put(describe(data), Pieces(data, 100_000))
        registry.fault(lambda *_: True, actions.Status(429), times=1)
        source.has(describe(data))
        gate = client._gates.at(registry.host)
        assert gate.limit == 1
        with source.open(describe(data)) as chunks:
            first = next(chunks)
            assert gate.under_way == 1
            target.put(describe(data), itertools.chain([first], chunks))
        assert target.has(describe(data))
        assert gate.under_way == 0
