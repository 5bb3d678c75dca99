"""The server around the protocol: the log, faults, logins, connections."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from collections.abc import Iterator

import pytest

from modelops_bundle.testing.actions import Status
from modelops_bundle.testing.registry import Registry, anything


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture
def connection(registry: Registry) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(registry.host, timeout=10)
    yield connection
    connection.close()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read(), {name.lower(): text for name, text in answer.getheaders()}


def test_it_listens_on_loopback_only(registry: Registry) -> None:
    assert registry._server.server_address[0] == "127.0.0.1"


def test_every_request_is_logged(registry: Registry, connection: http.client.HTTPConnection) -> None:
    assert ask(connection, "GET", "/v2/")[:2] == (200, b"{}")
    assert ask(connection, "GET", "/v2/a/tags/list?n=1")[0] == 404
    log = [(one.method, one.path, one.status) for one in registry.requests]
    assert log == [("GET", "/v2/", 200), ("GET", "/v2/a/tags/list?n=1", 404)]
    assert registry.asked("GET", "tags") == registry.requests[1:]
    assert all(one.seconds >= 0 for one in registry.requests)


def test_connections_are_kept(registry: Registry, connection: http.client.HTTPConnection) -> None:
    ask(connection, "GET", "/v2/")
    first = connection.sock
    ask(connection, "GET", "/v2/")
    assert connection.sock is first


def test_faults_come_in_order_as_often_as_told(registry: Registry, connection: http.client.HTTPConnection) -> None:
    fault = registry.fault(anything, Status(500), times=2, skip=1)
    registry.fault(lambda method, path: method == "HEAD", Status(501), times=None)
    assert [ask(connection, "GET", "/v2/")[0] for _ in range(4)] == [200, 500, 500, 200]
    assert [ask(connection, "HEAD", "/v2/")[0] for _ in range(2)] == [501, 501]
    assert fault.used == 2
    registry.heal()
    assert ask(connection, "HEAD", "/v2/")[0] == 200


def test_chunked_bodies_are_read(registry: Registry, connection: http.client.HTTPConnection) -> None:
    connection.request("POST", "/v2/a/blobs/uploads/", body=iter([b"ab", b"c"]), encode_chunked=True)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 202
    assert ask(connection, "GET", "/v2/")[0] == 200


def test_a_body_cut_short_asks_nothing(registry: Registry, connection: http.client.HTTPConnection) -> None:
    connection.putrequest("POST", "/v2/a/blobs/uploads/")
    connection.putheader("Content-Length", "10")
    connection.endheaders(b"short")
    connection.sock.shutdown(1)
    assert connection.sock.recv(100) == b""
    assert registry.requests[0].status == 0
    assert registry.repositories == {}


def test_hanging_up_ends_connections_not_service(registry: Registry, connection: http.client.HTTPConnection) -> None:
    ask(connection, "GET", "/v2/")
    registry.hang_up()
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(connection, "GET", "/v2/")
    connection.close()
    assert ask(connection, "GET", "/v2/")[0] == 200


def test_a_token_login(registry: Registry, connection: http.client.HTTPConnection) -> None:
    now = [0.0]
    registry.clock = lambda: now[0]
    registry.require_auth("bob", "pw", token_life=60)
    status, _, headers = ask(connection, "GET", "/v2/a/b/tags/list")
    assert status == 401
    assert f'realm="{registry.url}/token"' in headers["www-authenticate"]
    assert 'scope="repository:a/b:pull"' in headers["www-authenticate"]
    assert ask(connection, "GET", "/token?scope=repository:a/b:pull")[0] == 401
    basic = "Basic " + b64encode(b"bob:pw").decode()
    _, body, _ = ask(connection, "GET", "/token?scope=repository:a/b:pull", authorization=basic)
    granted = json.loads(body)
    assert granted["expires_in"] == 60
    bearer = f"Bearer {granted['token']}"
    assert ask(connection, "GET", "/v2/a/b/tags/list", authorization=bearer)[0] == 404
    assert ask(connection, "GET", "/v2/a/c/tags/list", authorization=bearer)[0] == 401
    assert ask(connection, "POST", "/v2/a/b/blobs/uploads/", authorization=bearer)[0] == 401
    now[0] = 61
    assert ask(connection, "GET", "/v2/a/b/tags/list", authorization=bearer)[0] == 401


def test_tokens_can_be_forgotten_and_public_repositories_pulled(
    registry: Registry, connection: http.client.HTTPConnection
) -> None:
    registry.require_auth("bob", "pw", anonymous_pull=True)
    _, body, _ = ask(connection, "GET", "/token?scope=repository:a/b:pull,push")
    bearer = f"Bearer {json.loads(body)['token']}"
    assert ask(connection, "GET", "/v2/a/b/tags/list", authorization=bearer)[0] == 404
    assert ask(connection, "POST", "/v2/a/b/blobs/uploads/", authorization=bearer)[0] == 401
    registry.expire_tokens()
    assert ask(connection, "GET", "/v2/a/b/tags/list", authorization=bearer)[0] == 401


def test_a_basic_login(registry: Registry, connection: http.client.HTTPConnection) -> None:
    registry.require_auth("bob", "pw", basic=True)
    assert ask(connection, "GET", "/v2/")[2]["www-authenticate"].startswith("Basic ")
    good, bad = (b"Basic " + b64encode(pair) for pair in (b"bob:pw", b"bob:no"))
    assert ask(connection, "GET", "/v2/", authorization=good.decode())[0] == 200
    assert ask(connection, "GET", "/v2/", authorization=bad.decode())[0] == 401
