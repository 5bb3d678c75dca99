"""The second origin, and what all fake sites share."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from modelops_bundle.testing.protocol import Call
from modelops_bundle.testing.site import Storage, bearer, document, part
from tests.support.canary import secret


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(method, url.removeprefix(f"http://{parts.netloc}"), headers=headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.fixture
def storage() -> Iterator[Storage]:
    storage = Storage(life=60)
    yield storage
    storage.close()


def test_signed_addresses_are_good_until_they_expire(storage: Storage) -> None:
    url = storage.sign(storage.put(b"0123456789"), "a b.bin")
    status, headers, body = get(url)
    assert (status, body) == (200, b"0123456789")
    assert "filename*=UTF-8''a%20b.bin" in headers["content-disposition"]
    assert "docker-distribution-api-version" not in headers
    assert get(url.replace("Signature=", "Signature=0"))[0] == 403
    now = storage.clock()
    storage.clock = lambda: now + 61
    assert get(url)[0] == 403
    storage.clock = lambda: now
    storage.expire()
    assert get(url)[0] == 403
    assert get(storage.sign("unknown", "x"))[0] == 404


def test_a_login_is_refused_and_kept_account_of(storage: Storage) -> None:
    url = storage.sign(storage.put(b"x"), "x")
    assert storage.leaks == []
    assert get(url, Authorization=f"Bearer {secret('token')}")[0] == 400
    assert len(storage.leaks) == 1


def test_ranges(storage: Storage) -> None:
    url = storage.sign(storage.put(b"0123456789"), "x")
    status, headers, body = get(url, Range="bytes=2-4")
    assert (status, headers["content-range"], body) == (206, "bytes 2-4/10", b"234")
    assert get(url, Range="bytes=2-4", **{"If-Range": headers["etag"]})[0] == 206
    assert get(url, Range="bytes=2-4", **{"If-Range": '"other"'})[0] == 200
    status, headers, _ = get(url, Range="bytes=10-")
    assert (status, headers["content-range"]) == (416, "bytes */10")


def test_parts_and_documents() -> None:
    assert part(Call("GET", "/", {"range": "bytes=0-0"}), b"ab", {"ETag": '"x"'}).body == b"a"
    assert document({"a": 1}, 404, X_Error_Code="No").headers["X-Error-Code"] == "No"


@pytest.mark.parametrize(("said", "token"), [("Bearer abc", "abc"), ("bearer x", "x"), ("Basic abc", None), ("", None)])
def test_bearers(said: str, token: str | None) -> None:
    assert bearer(Call("GET", "/", {"authorization": said})) == token
