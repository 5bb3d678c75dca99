"""One upload session: what its answers mean, whatever registry gives them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelops_bundle.errors import BundleError, Corrupt, Unauthorized, Unavailable, Unsupported
from modelops_bundle.model.digest import Digest
from modelops_bundle.net.client import Client
from modelops_bundle.net.exchange import Reply
from modelops_bundle.net.retry import Policy, Transient
from modelops_bundle.stores.repository import Repository
from modelops_bundle.stores.sessions import Session
from modelops_bundle.testing.actions import Headers, Refuse, Status
from modelops_bundle.testing.registry import Registry

DATA = b"0123456789"
DIGEST = Digest.of(DATA)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture
def repository(registry: Registry) -> Iterator[Repository]:
    with Client(policy=Policy(base=0.0)) as client:
        yield Repository(client, registry.host, "team/model")


@pytest.fixture
def session(registry: Registry, repository: Repository) -> Session:
    request = repository.request("POST", "blobs/uploads/", "upload", accept=(202,))
    return Session.of_reply(repository, "key", repository.fetch(request))


def anything(method: str, path: str) -> bool:
    return True


def test_parts_then_the_digest(registry: Registry, session: Session) -> None:
    first = session.url
    session.append([DATA[:4]], 4)
    assert session.offset == 4
    assert session.url != first, "the newest location"
    session.append([DATA[4:]], 6)
    session.finish(DIGEST, 10)
    assert registry.repositories["team/model"].blobs == {str(DIGEST): DATA}


def test_the_last_bytes_may_come_with_the_digest(registry: Registry, session: Session) -> None:
    session.append([DATA[:4]], 4)
    session.finish(DIGEST, 10, [DATA[4:]], 6)
    assert registry.repositories["team/model"].blobs == {str(DIGEST): DATA}


def test_a_session_knows_what_arrived(session: Session) -> None:
    assert session.ask() is False, "nothing that would be worth it"
    session.append([DATA[:1]], 1)
    assert session.ask() is False, "one byte looks like none"
    session.append([DATA[1:4]], 3)
    session.offset = 0
    assert session.ask() is True
    assert session.offset == 4


@pytest.mark.parametrize("status", [400, 404, 405, 410, 416])
def test_a_session_that_is_lost_says_so(registry: Registry, session: Session, status: int) -> None:
    session.append([DATA[:4]], 4)
    registry.fault(anything, Status(status))
    assert session.ask() is False


def test_a_discarded_session_is_gone(registry: Registry, session: Session) -> None:
    session.append([DATA[:4]], 4)
    assert registry.protocol.uploads == 1
    session.discard()
    assert registry.protocol.uploads == 0
    session.discard()
    registry.close()
    session.discard()


@pytest.mark.parametrize("status", [400, 405, 411, 413, 415, 416, 501])
def test_registries_without_parts(registry: Registry, session: Session, status: int) -> None:
    registry.fault(anything, Status(status))
    with pytest.raises(Unsupported, match="in parts"):
        session.append([DATA], 10)


def test_a_416_later_is_a_miscount(registry: Registry, session: Session) -> None:
    session.append([DATA[:4]], 4)
    registry.fault(anything, Status(416))
    with pytest.raises(Transient):
        session.append([DATA[4:]], 6)


@pytest.mark.parametrize("said", ["0-4", "0-2", "bytes=0-2"])
def test_other_counts_end_the_session(registry: Registry, session: Session, said: str) -> None:
    registry.fault(anything, Headers({"Range": said}))
    with pytest.raises(Transient):
        session.append([DATA[:4]], 4)
    assert registry.protocol.uploads == 0


@pytest.mark.parametrize("said", ["0-3", "bytes=0-3", "", "x", "3-0", "0-" + "9" * 40])
def test_the_same_count_or_none_is_fine(registry: Registry, session: Session, said: str) -> None:
    registry.fault(anything, Headers({"Range": said}))
    session.append([DATA[:4]], 4)
    assert session.offset == 4


@pytest.mark.parametrize(
    ("action", "error", "cause"),
    [
        (Refuse(404, "BLOB_UPLOAD_UNKNOWN"), Unavailable, "answer"),
        (Refuse(400, "BLOB_UPLOAD_INVALID"), BundleError, "answer"),
        (Status(416), BundleError, "answer"),
        (Refuse(400, "DIGEST_INVALID"), Corrupt, "corrupt"),
        (Refuse(400, "SIZE_INVALID"), Corrupt, "corrupt"),
    ],
)
def test_ends_that_may_be_tried_again(
    registry: Registry, session: Session, action: Refuse | Status, error: type[BundleError], cause: str
) -> None:
    registry.fault(anything, action)
    with pytest.raises(Transient) as caught:
        session.finish(DIGEST, 10, [DATA], 10)
    assert isinstance(caught.value.error, error)
    assert caught.value.cause == cause


def test_ends_that_may_not(registry: Registry, session: Session) -> None:
    registry.fault(anything, Refuse(403, "DENIED"))
    with pytest.raises(Unauthorized):
        session.finish(DIGEST, 10, [DATA], 10)
    registry.fault(anything, Headers({"Docker-Content-Digest": "sha256:" + "0" * 64}))
    with pytest.raises(Corrupt):
        session.finish(DIGEST, 10, [DATA], 10)


@pytest.mark.parametrize("location", ["https://evil.example/x", "//127.0.0.1:1/x", "http://localhost:1/x"])
def test_a_session_stays_at_its_registry(registry: Registry, session: Session, location: str) -> None:
    registry.fault(anything, Headers({"Location": location}))
    with pytest.raises(Unsupported, match="another server"):
        session.append([DATA[:4]], 4)


@pytest.mark.parametrize(
    ("said", "least"), [("1048576", 1048576), ("", 0), ("-5", 0), ("9" * 30, 0), (" 7 ", 7), ("x", 0)]
)
def test_the_least_part_is_read(repository: Repository, said: str, least: int) -> None:
    headers = {"location": "/v2/x", "oci-chunk-min-length": said}
    reply = Reply(202, headers, b"", f"{repository.origin}/v2/team/model/blobs/uploads/")
    session = Session.of_reply(repository, "key", reply)
    assert (session.least, session.offset, session.url) == (least, 0, f"{repository.origin}/v2/x")
