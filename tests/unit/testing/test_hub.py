"""What the fake hub says that the real client does not look at. The rest: tests/contract/test_hub_oracle.py."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest

from modelops_bundle.testing.hub import Hub
from tests.support.canary import secret
from tests.unit.testing.test_site import get


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add("ns/name", licence="mit").commit({"README.md": b"read me " * 99, "a.bin": bytes(2000)})
        yield hub


def test_every_answer_tells_the_quota(hub: Hub) -> None:
    _, headers, _ = get(f"{hub.url}/api/models/ns/name")
    assert headers["ratelimit"] == '"api";r=499;t=172'
    assert headers["ratelimit-policy"] == '"fixed window";"api";q=500;w=300'
    hub.left["resolvers"] = 0
    status, headers, _ = get(f"{hub.url}/ns/name/resolve/main/a.bin")
    assert (status, headers["ratelimit"]) == (429, '"resolvers";r=0;t=172')


def test_regular_files_take_a_hop_and_may_come_compressed(hub: Hub) -> None:
    status, headers, _ = get(f"{hub.url}/ns/name/resolve/main/README.md")
    assert status == 307
    assert headers["location"].startswith("/api/resolve-cache/models/ns/name/")
    target = hub.url + headers["location"]
    plain = get(target)
    packed = get(target, **{"Accept-Encoding": "gzip", "Range": "bytes=0-3"})
    assert plain[2] == gzip.decompress(packed[2]) == b"read me " * 99
    assert (packed[0], packed[1]["etag"]) == (200, "W/" + plain[1]["etag"])
    assert get(target, **{"If-None-Match": plain[1]["etag"]})[0] == 304


def test_large_files_go_to_storage(hub: Hub) -> None:
    status, headers, body = get(f"{hub.url}/ns/name/resolve/main/a.bin")
    assert (status, body[:20]) == (302, b"Found. Redirecting t")
    assert headers["x-linked-size"] == "2000"
    assert headers["location"].startswith(hub.storage.site.url)
    assert get(f"{hub.url}/ns/name/resolve/main/a.bin", **{"If-None-Match": headers["x-linked-etag"]})[0] == 304


def test_who_am_i(hub: Hub) -> None:
    token = secret("token")
    hub.users[token] = "bob"
    assert json.loads(get(f"{hub.url}/api/whoami-v2", Authorization=f"Bearer {token}")[2])["name"] == "bob"
    assert get(f"{hub.url}/api/whoami-v2")[0] == 401
    assert json.loads(get(f"{hub.url}/api/models/ns/name")[2])["cardData"] == {"license": "mit"}


@pytest.mark.parametrize("path", ["/nothing/like/it", "/api/models/ns/name/tree/main/nope"])
def test_what_is_not_there(hub: Hub, path: str) -> None:
    assert get(hub.url + path)[0] == 404
