"""Uploads against the in-process registry: how many requests, and what is never sent."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from modelops_bundle.errors import BundleError, Corrupt, Unavailable, Unsupported
from modelops_bundle.events import Event, Retrying, Run
from modelops_bundle.net.client import Client
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores import uploads
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.stores.uploads import Checked
from modelops_bundle.testing.actions import Headers, IgnoreMount, Refuse, Reset, Status
from modelops_bundle.testing.registry import Registry
from modelops_bundle.testing.store_contract import Pieces, describe, read

BIG = os.urandom(3 * 1024 * 1024)
SMALL = b"small"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def store(registry: Registry, events: list[Event]) -> Iterator[RegistryStore]:
    with Client(run=Run(emit=events.append), policy=Policy(base=0.0)) as client:
        yield RegistryStore(client, registry.host, "team/model")


def asked(registry: Registry) -> list[str]:
    return [f"{one.method} {one.status}" for one in registry.requests]


def puts(method: str, path: str) -> bool:
    return method == "PUT"


def posts(method: str, path: str) -> bool:
    return method == "POST"


def test_a_new_blob_takes_two_requests_a_known_one_takes_one(registry: Registry, store: RegistryStore) -> None:
    store.put(describe(SMALL), [SMALL])
    assert asked(registry) == ["POST 202", "PUT 201"]
    store.put(describe(SMALL), [SMALL])
    assert asked(registry)[2:] == ["POST 201"]
    assert f"mount={describe(SMALL).digest}&from=team/model" in registry.requests[0].path
    assert "_state=" in registry.requests[1].path
    assert registry.requests[1].path.endswith(f"&digest={describe(SMALL).digest}")
    assert registry.requests[1].headers["content-length"] == "5"


def test_large_blobs_are_asked_for_where_mounts_are_ignored(
    registry: Registry, store: RegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "LARGE", len(BIG))
    registry.fault(posts, IgnoreMount(), times=None)
    store.put(describe(BIG), [BIG])
    assert asked(registry) == ["POST 202", "HEAD 404", "PUT 201"]
    store.put(describe(BIG), [BIG])
    assert asked(registry)[3:] == ["POST 202", "HEAD 200", "DELETE 204"]


def test_a_registry_that_dislikes_mounts_is_asked_without(registry: Registry, store: RegistryStore) -> None:
    registry.fault(lambda method, path: "mount=" in path, Refuse(400, "UNSUPPORTED"), times=None)
    store.put(describe(SMALL), [SMALL])
    assert asked(registry) == ["POST 400", "POST 202", "PUT 201"]


def test_a_failed_attempt_starts_over(registry: Registry, store: RegistryStore, events: list[Event]) -> None:
    registry.fault(puts, Reset(), times=2)
    registry.fault(puts, Status(503), times=1)
    pieces = Pieces(BIG, 1024 * 1024)
    store.put(describe(BIG), pieces)
    assert read(store, describe(BIG)) == BIG
    assert pieces.started == 4
    assert asked(registry).count("POST 202") == 4
    assert [event.key for event in events if isinstance(event, Retrying)] == [str(describe(BIG).digest)] * 3


def test_an_iterator_cannot_start_over(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Status(503))
    with pytest.raises(Unavailable):
        store.put(describe(BIG), iter([BIG]))
    assert asked(registry) == ["POST 202", "PUT 503"]


def test_a_small_iterator_can(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Status(503))
    store.put(describe(SMALL), iter([SMALL]))
    assert read(store, describe(SMALL)) == SMALL


def test_a_lost_session_is_replaced(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Refuse(404, "BLOB_UPLOAD_UNKNOWN"))
    registry.fault(puts, Refuse(400, "BLOB_UPLOAD_INVALID"))
    store.put(describe(BIG), [BIG])
    assert read(store, describe(BIG)) == BIG


def test_bytes_damaged_on_the_way_are_sent_again(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Refuse(400, "DIGEST_INVALID"))
    store.put(describe(BIG), [BIG])
    assert read(store, describe(BIG)) == BIG
    registry.fault(puts, Refuse(400, "DIGEST_INVALID"), times=None)
    with pytest.raises(Corrupt):
        store.put(describe(b"other"), [b"other"])


@pytest.mark.parametrize(
    ("status", "code", "exit_code"), [(403, "DENIED", 7), (413, "SIZE_INVALID", 10), (400, "NAME_INVALID", 8)]
)
def test_refusals_are_final(registry: Registry, store: RegistryStore, status: int, code: str, exit_code: int) -> None:
    registry.fault(puts, Refuse(status, code), times=None)
    with pytest.raises(BundleError) as caught:
        store.put(describe(SMALL), [SMALL])
    assert caught.value.exit_code == exit_code
    assert asked(registry).count(f"PUT {status}") == 1


def test_an_answer_before_the_body_was_read(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Status(503, reads_body=False), times=2)
    store.put(describe(BIG), [BIG])
    assert read(store, describe(BIG)) == BIG


@pytest.mark.parametrize("location", ["https://evil.example/upload", "http://localhost:1/upload", "//127.0.0.1/x"])
def test_uploads_go_to_the_registry_or_nowhere(registry: Registry, store: RegistryStore, location: str) -> None:
    registry.fault(posts, Headers({"Location": location}), times=None)
    with pytest.raises(Unsupported, match="another server"):
        store.put(describe(SMALL), [SMALL])
    assert asked(registry) == ["POST 202"]


def test_an_upload_without_address(registry: Registry, store: RegistryStore) -> None:
    registry.fault(posts, Status(202), times=None)
    with pytest.raises(Unavailable, match="does not say where"):
        store.put(describe(SMALL), [SMALL])


def test_an_answer_that_names_another_digest(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Headers({"Docker-Content-Digest": "sha256:" + "0" * 64}))
    with pytest.raises(Corrupt):
        store.put(describe(BIG), [BIG])


def test_wrong_bytes_never_arrive_whole(registry: Registry, store: RegistryStore) -> None:
    with pytest.raises(Corrupt):
        store.put(describe(BIG), Pieces(BIG[:-1] + b"?", 1024 * 1024))
    assert registry.repositories.get("team/model", None) is None
    # The handler logs the short body when it sees the end of the connection, in a thread of its own.
    assert "PUT 201" not in asked(registry)


# --- the withheld piece


def sent(data: bytes, chunks: list[bytes]) -> tuple[bytes, bool]:
    checked = Checked(describe(data), chunks)
    out = b""
    try:
        for chunk in checked:
            out += chunk
    except Corrupt:
        return out, False
    return out, True


@pytest.mark.parametrize(
    "chunks", [[b"abc"], [b"a", b"b", b"c"], [b"", b"ab", b"", b"c", b""], [b"a", b"bc"]], ids=lambda c: str(len(c))
)
def test_right_pieces_pass(chunks: list[bytes]) -> None:
    assert sent(b"abc", chunks) == (b"abc", True)


@pytest.mark.parametrize(
    "chunks",
    [[b"abd"], [b"a", b"b", b"d"], [b"abc", b"d"], [b"abcd"], [b"ab"], [], [b"a", b"b"], [b"a", b"b", b"c", b"d"]],
)
def test_wrong_pieces_are_never_complete(chunks: list[bytes]) -> None:
    out, complete = sent(b"abc", chunks)
    assert not complete
    assert len(out) < 3


def test_the_empty_blob_is_checked_too() -> None:
    assert sent(b"", []) == (b"", True)
    assert sent(b"", [b"x"]) == (b"", False)
