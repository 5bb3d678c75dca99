"""The repositories of a registry, and registries that show none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelops_bundle.errors import Corrupt, Unauthorized, Unavailable, Unsupported
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Credentials, Given
from modelops_bundle.net.options import NetOptions
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores import catalog
from modelops_bundle.stores.catalog import repositories
from modelops_bundle.testing.actions import Body, Headers, Html, Refuse
from modelops_bundle.testing.registry import Registry
from tests.support.canary import secret

NAMES = ["team/a", "team/b/c", "team", "teams/x", "other"]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        for name in NAMES:
            registry.protocol.repository(name)
        yield registry


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(policy=Policy(base=0.001)) as client:
        yield client


def is_catalog(_: str, path: str) -> bool:
    return "/_catalog" in path


def test_all_and_those_below_a_path(registry: Registry, client: Client) -> None:
    assert repositories(client, registry.host) == sorted(NAMES)
    assert repositories(client, registry.host, "team") == ["team", "team/a", "team/b/c"]
    assert repositories(client, registry.host, "team/b") == ["team/b/c"]
    assert repositories(client, registry.host, "nobody") == []


def test_page_by_page(registry: Registry, client: Client) -> None:
    registry.habits.page = 2
    assert repositories(client, registry.host) == sorted(NAMES)
    assert len(registry.asked("GET", "_catalog")) == 3


@pytest.mark.parametrize("status", [404, 405, 501])
def test_no_catalog_is_told(registry: Registry, client: Client, status: int) -> None:
    registry.fault(is_catalog, Refuse(status, "UNSUPPORTED"), times=None)
    with pytest.raises(Unsupported, match="no list of its repositories"):
        repositories(client, registry.host)


def test_a_web_page_is_no_catalog(registry: Registry, client: Client) -> None:
    registry.fault(is_catalog, Html(), times=None)
    with pytest.raises(Unsupported, match="no list"):
        repositories(client, registry.host)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_no_empty_catalog(registry: Registry, client: Client, status: int) -> None:
    registry.fault(is_catalog, Refuse(status, "DENIED"), times=None)
    with pytest.raises(Unauthorized):
        repositories(client, registry.host)


def test_trouble_is_no_empty_catalog(registry: Registry, client: Client) -> None:
    registry.fault(is_catalog, Refuse(500, "X"), times=None)
    with pytest.raises(Unavailable):
        repositories(client, registry.host)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"repositories": 3}', b"no json"])
def test_anything_else_is_no_catalog(registry: Registry, client: Client, body: bytes) -> None:
    registry.fault(is_catalog, Body(body), times=None)
    with pytest.raises(Corrupt):
        repositories(client, registry.host)


def test_names_that_are_none_are_left_out(registry: Registry, client: Client) -> None:
    registry.fault(is_catalog, Body(b'{"repositories": ["good", "\\u001b[31mred", "../up", 7, "A"]}'), times=None)
    assert repositories(client, registry.host) == ["good"]


def test_another_server_is_not_asked(registry: Registry, client: Client) -> None:
    with Registry() as elsewhere:
        registry.fault(is_catalog, Headers({"Link": f'<{elsewhere.url}/v2/_catalog?last=x>; rel="next"'}), times=None)
        with pytest.raises(Unsupported, match="another server"):
            repositories(client, registry.host)
        assert elsewhere.requests == []


def test_the_login_is_for_the_catalog(registry: Registry) -> None:
    password = secret()
    registry.require_auth("ann", password)
    with Client(credentials=Given(registry.host, Credentials("ann", password))) as client:
        assert repositories(client, registry.host) == sorted(NAMES)
    assert any("scope=registry%3Acatalog%3A%2A" in one.path for one in registry.asked("GET", "/token"))


def test_registries_that_say_no_to_everybody_are_known(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
    known = catalog.Elsewhere(("localhost",), "https://example.com/{org}")
    monkeypatch.setattr(catalog, "ELSEWHERE", (known,))
    registry.fault(is_catalog, Refuse(401, "UNAUTHORIZED"), times=None)
    with Client(NetOptions()) as client, pytest.raises(Unsupported) as caught:
        repositories(client, registry.host, "team/x")
    assert caught.value.hint == "look there: https://example.com/team"
