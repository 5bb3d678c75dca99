"""The fake ModelScope answers, and fails, as the real one (facts: fetch §2.3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from modelops_bundle.testing.modelscope import Modelscope
from tests.support.canary import secret
from tests.unit.testing.test_site import get

FILES = {"a.json": b"{}", "d/b.bin": bytes(2000), "d/e/c.bin": bytes(3000)}


@pytest.fixture
def scope() -> Iterator[Modelscope]:
    with Modelscope() as scope:
        yield scope


def load(url: str, **headers: str) -> Any:
    return json.loads(get(url, **headers)[2])


def test_listings_end_without_a_word(scope: Modelscope) -> None:
    scope.add("ns/name", FILES)
    base = f"{scope.url}/api/v1/models/ns/name/repo/files"
    found = load(f"{base}?Revision=master&Recursive=True")["Data"]["Files"]
    assert [one["Path"] for one in found] == ["a.json", "d", "d/b.bin", "d/e", "d/e/c.bin"]
    assert [one["Path"] for one in load(f"{base}?Root=d")["Data"]["Files"]] == ["d/b.bin", "d/e"]
    scope.most = 2
    assert load(f"{base}?Recursive=True") == {
        "Code": 200,
        "Success": True,
        "Message": "success",
        "Data": {"Files": found[:2]},
    }


def test_datasets_come_in_pages(scope: Modelscope) -> None:
    scope.add("ns/data", FILES, "datasets")
    url = f"{scope.url}/api/v1/datasets/ns/data/repo/tree?Recursive=True&PageSize=2&PageNumber="
    assert [[one["Path"] for one in load(f"{url}{n}")["Data"]["Files"]] for n in (1, 3, 4)] == [
        ["a.json", "d"],
        ["d/e/c.bin"],
        [],
    ]


def test_small_files_ignore_ranges_and_large_ones_are_elsewhere(scope: Modelscope) -> None:
    scope.add("ns/name", FILES)
    url = f"{scope.url}/api/v1/models/ns/name/repo?Revision=master&FilePath="
    status, headers, body = get(f"{url}a.json", Range="bytes=1-1")
    assert (status, body) == (200, b"{}")
    status, headers, _ = get(f"{url}d/b.bin")
    assert (status, len(headers["x-linked-etag"])) == (302, 66)
    assert get(headers["location"], Range="bytes=0-9")[2] == bytes(10)


@pytest.mark.parametrize("how", ["Authorization", "Cookie"])
def test_private_repositories(scope: Modelscope, how: str) -> None:
    token = secret("token")
    scope.users[token] = "bob"
    scope.add("ns/name", FILES, private=True, granted={"bob"})
    url = f"{scope.url}/api/v1/models/ns/name"
    assert get(url)[0] == 404
    said = {"Authorization": f"Bearer {token}", "Cookie": f"a=b; m_session_id={token}"}[how]
    assert load(url, **{how: said})["Data"]["License"] == "apache-2.0"
    assert load(f"{url}/revisions", **{how: said})["Data"]["RevisionMap"]["Branches"] == [{"Revision": "master"}]


def test_moods(scope: Modelscope) -> None:
    scope.add("ns/name", FILES)
    scope.moody = 1
    url = f"{scope.url}/api/v1/models/ns/name/repo/files"
    assert [get(url)[0], get(url)[0]] == [403, 200]
    for path in ("models/ns/none", "models/ns/name/repo?FilePath=x", "models/ns/name/repo?Revision=x"):
        assert load(f"{scope.url}/api/v1/{path}")["Success"] is False
    assert get(f"{scope.url}/elsewhere")[0] == 404
