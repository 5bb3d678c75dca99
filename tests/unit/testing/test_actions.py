"""Each misfortune, as a client on a socket sees it."""

from __future__ import annotations

import gzip
import http.client
import threading
from collections.abc import Iterator

import pytest

from modelops_bundle.model.digest import Digest as ContentDigest
from modelops_bundle.testing import actions
from modelops_bundle.testing.registry import Registry, anything

DATA = bytes(range(256)) * 100
PATH = f"/v2/a/blobs/{ContentDigest.of(DATA)}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.protocol.repository("a").blobs[str(ContentDigest.of(DATA))] = DATA
        yield registry


@pytest.fixture
def connection(registry: Registry) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(registry.host, timeout=10)
    yield connection
    connection.close()


def get(
    registry: Registry, connection: http.client.HTTPConnection, action: actions.Action, **headers: str
) -> http.client.HTTPResponse:
    registry.fault(anything, action)
    connection.request("GET", PATH, headers=headers)
    return connection.getresponse()


def test_status_and_refusal(registry: Registry, connection: http.client.HTTPConnection) -> None:
    answer = get(registry, connection, actions.Status(503, {"Retry-After": "1"}, b"later"))
    assert (answer.status, answer.getheader("Retry-After"), answer.read()) == (503, "1", b"later")
    answer = get(registry, connection, actions.Refuse(403, "DENIED", "no"))
    assert (answer.status, b'"DENIED"' in answer.read()) == (403, True)


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_body(registry: Registry, connection: http.client.HTTPConnection, reset: bool) -> None:
    answer = get(registry, connection, actions.Cut(100, reset))
    assert answer.getheader("Content-Length") == str(len(DATA))
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        answer.read()


def test_a_reset_connection(registry: Registry, connection: http.client.HTTPConnection) -> None:
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        get(registry, connection, actions.Reset())


def test_a_reset_after_the_work_was_done(registry: Registry, connection: http.client.HTTPConnection) -> None:
    registry.fault(anything, actions.Reset(done=True))
    digest = ContentDigest.of(b"x")
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        connection.request("POST", f"/v2/a/blobs/uploads/?digest={digest}", body=b"x")
        connection.getresponse()
    assert registry.repositories["a"].blobs[str(digest)] == b"x"


def test_changed_bodies(registry: Registry, connection: http.client.HTTPConnection) -> None:
    flipped = get(registry, connection, actions.Corrupt(3)).read()
    assert [at for at, byte in enumerate(flipped) if byte != DATA[at]] == [3]
    assert get(registry, connection, actions.Short(5)).read() == DATA[:-5]
    assert get(registry, connection, actions.Long(5)).read() == DATA + bytes(5)
    assert get(registry, connection, actions.Body(b"other")).read() == b"other"
    packed = get(registry, connection, actions.Gzip())
    assert (packed.getheader("Content-Encoding"), gzip.decompress(packed.read())) == ("gzip", DATA)


def test_changed_headers(registry: Registry, connection: http.client.HTTPConnection) -> None:
    for action, expected in ((actions.Digest("sha256:lie"), "sha256:lie"), (actions.Digest(None), None)):
        answer = get(registry, connection, action)
        answer.read()
        assert answer.getheader("Docker-Content-Digest") == expected
    answer = get(registry, connection, actions.Headers({"X-Y": "z"}))
    answer.read()
    assert answer.getheader("X-Y") == "z"


def test_an_endless_body(registry: Registry, connection: http.client.HTTPConnection) -> None:
    answer = get(registry, connection, actions.Endless())
    assert len(answer.read(len(DATA) + 1_000_000)) == len(DATA) + 1_000_000


def test_a_stall_ends_when_released(registry: Registry, connection: http.client.HTTPConnection) -> None:
    stall = actions.Stall()
    answer = get(registry, connection, stall)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(answer.read()))
    reader.start()
    assert got == []
    stall.release()
    reader.join(10)
    assert got == [DATA]


def test_redirects(registry: Registry, connection: http.client.HTTPConnection) -> None:
    answer = get(registry, connection, actions.Redirect("http://other{target}"))
    answer.read()
    assert (answer.status, answer.getheader("Location")) == (307, f"http://other{PATH}")


def test_ignorance(registry: Registry, connection: http.client.HTTPConnection) -> None:
    answer = get(registry, connection, actions.IgnoreRange(), Range="bytes=0-1")
    assert (answer.status, answer.read()) == (200, DATA)
    registry.fault(anything, actions.IgnoreMount())
    connection.request("POST", f"/v2/a/blobs/uploads/?mount={ContentDigest.of(DATA)}&from=a")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 202


def test_a_web_page(registry: Registry, connection: http.client.HTTPConnection) -> None:
    answer = get(registry, connection, actions.Html())
    assert answer.read().startswith(b"<!doctype html>")


def test_an_upload_that_is_cut(registry: Registry, connection: http.client.HTTPConnection) -> None:
    connection.request("POST", "/v2/a/blobs/uploads/")
    answer = connection.getresponse()
    answer.read()
    where = answer.headers["Location"]
    registry.fault(anything, actions.CutUpload(10))
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError)):
        connection.request("PATCH", where, body=DATA)
        connection.getresponse()
    connection.close()
    connection.request("GET", where)
    assert connection.getresponse().headers["Range"] == "0-9"
    assert [one.status for one in registry.requests] == [202, 0, 204]


def test_something_of_the_tests_own_comes_first(registry: Registry, connection: http.client.HTTPConnection) -> None:
    done: list[int] = []
    assert get(registry, connection, actions.First(lambda: done.append(1))).read() == DATA
    assert done == [1]
