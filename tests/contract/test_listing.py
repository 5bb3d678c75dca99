"""Lists of tags that are long, paged or hostile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import media
from modelops_bundle.model.ports import ABSENT
from modelops_bundle.net.client import Client
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores import listing
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing.actions import Action, Status
from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.testing.store_contract import make_manifest
from tests.support.bundle import call
from tests.support.registry_process import ProcessRegistry, Unobtainable

MANY = 10_000


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(policy=Policy(base=0.001)) as client:
        yield client


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as registry:
        yield registry


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[ProcessRegistry]:
    """A registry whose storage is within reach, whatever the others are."""
    try:
        found = ProcessRegistry(tmp_path / "data")
    except Unobtainable as error:
        pytest.skip(str(error))
    yield found
    found.stop()


@pytest.mark.registry
def test_ten_thousand_tags_of_a_real_registry(storage: ProcessRegistry, client: Client) -> None:
    assert storage.root is not None
    repo = f"{storage.host}/many"
    store = RegistryStore(client, storage.host, "many")
    what, data = make_manifest(store, b"layer")
    store.tag("v0", what, data, ABSENT)
    # One PUT for each would take minutes: distribution keeps a tag in a directory with a link to its manifest.
    folder = storage.root / "docker/registry/v2/repositories/many/_manifests/tags"
    assert (folder / "v0" / "current" / "link").read_text() == str(what.digest)
    for number in range(1, MANY):
        link = folder / f"v{number}" / "current" / "link"
        link.parent.mkdir(parents=True)
        link.write_text(str(what.digest))
    names = sorted(f"v{number}" for number in range(MANY))
    assert list(store.tags()) == names
    result = call("--progress", "json", "--json", "tags", "--names", repo)
    assert [tag["tag"] for tag in result.json["tags"]] == names
    assert len(result.requests) <= 1 + MANY // listing.PAGE
    assert store.resolve("v9999") == what


def test_ten_thousand_tags_in_pages(fake: Fake, client: Client) -> None:
    store = RegistryStore(client, fake.host, "m")
    what, data = make_manifest(store, b"layer")
    store.tag("v0", what, data, ABSENT)
    fake.repositories["m"].tags.update({f"v{number}": str(what.digest) for number in range(MANY)})
    fake.habits.page = 300
    assert list(store.tags()) == sorted(f"v{number}" for number in range(MANY))
    assert len(fake.asked("GET", "/tags/list")) == -(-MANY // 300)


def test_a_list_that_is_longer_than_a_manifest_may_be(fake: Fake, client: Client) -> None:
    """Distribution 2.8 sends all at once: 80,000 tags by commit have more than 4 MiB."""
    many = [f"commit-{number:060}" for number in range(80_000)]
    body = json.dumps({"name": "m", "tags": many}).encode()
    assert len(body) > media.MAX_MANIFEST
    fake.fault(lambda *_: True, Status(200, {"Content-Type": "application/json"}, body))
    assert list(RegistryStore(client, fake.host, "m").tags()) == many


class Pages(Action):
    """A list of tags that goes on and on; `{}` in the name of a tag or page is the number of the request."""

    def __init__(self, name: str, link: str) -> None:
        self._name, self._link, self._number = name, link, 0

    def before(self, call: Call) -> Response:
        self._number += 1
        names = f'"{self._name.format(self._number)}"' if self._name else ""
        link = self._link.format(self._number)
        headers = {"Content-Type": "application/json", "Link": f'<{link}>; rel="next"'}
        return Response(200, headers, f'{{"name": "m", "tags": [{names}]}}'.encode())


@pytest.mark.parametrize("name", ["t{}", ""])
def test_pages_without_end_end(fake: Fake, client: Client, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(listing.pages, "__kwdefaults__", {"most": 60})
    fake.fault(lambda *_: True, Pages(name, "/v2/m/tags/list?last={}"), times=None)
    with pytest.raises(Corrupt, match="without an end"):
        RegistryStore(client, fake.host, "m").tags()
    assert len(fake.requests) <= 61


@pytest.mark.parametrize(("name", "link"), [("t", "/v2/m/tags/list?last={}"), ("t{}", "/v2/m/tags/list?last=t")])
def test_pages_that_repeat_end_the_list(fake: Fake, client: Client, name: str, link: str) -> None:
    fake.fault(lambda *_: True, Pages(name, link), times=None)
    assert len(RegistryStore(client, fake.host, "m").tags()) <= 2
    assert len(fake.requests) == 2


def test_names_only_from_a_layout(tmp_path: Path) -> None:
    from tests.support.bundle import Bundle

    a = Bundle.create(tmp_path / "a", f"layout:{tmp_path / 'layout'}", {"x.txt": "x"})
    a.push("--tag", "v1", "--tag", "v2")
    assert a.run("tags", "--names").out.split() == ["v1", "v2"]
