"""ModelScope: listings that end without a word, moods, and what its refusals mean. The rest: test_sources.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelops_bundle.errors import NotFound, Unauthorized, Unsupported, UsageError
from modelops_bundle.sources.modelscope import Modelscope
from modelops_bundle.testing import actions
from tests.support.canary import secret
from tests.support.hubs import FILES, World, modelscope_site

TREE = {f"{directory}/{number}.bin": b"%d" % number for directory in ("a", "b/c", "b/d") for number in range(3)}


@pytest.fixture
def world() -> Iterator[World]:
    with modelscope_site("bob") as world:
        world.server.add("ns/tree", TREE)
        yield world


def names(world: World, address: str) -> list[str]:
    return [file.path for file in world.resolve(address).files]


def test_cut_listings_are_gone_through_by_directory(world: World) -> None:
    world.server.most = 5
    world.resolver = Modelscope(listed=5)
    assert names(world, "ms://ns/tree") == sorted(TREE)
    assert len(world.site.asked("GET", "Root=b")) > 1


def test_a_directory_that_cannot_be_listed_is_said(world: World) -> None:
    world.server.add("ns/flat", {f"{number}.bin": b"" for number in range(9)})
    world.server.most = 5
    world.resolver = Modelscope(listed=5)
    with pytest.raises(Unsupported, match="more than the 5 files"):
        world.resolve("ms://ns/flat")


def test_datasets_are_read_to_their_last_page(world: World) -> None:
    many = {f"{number:04}.csv": b"" for number in range(401)}
    world.server.add("ns/data", many, "datasets")
    assert names(world, "ms://datasets/ns/data") == sorted(many)
    assert len(world.site.asked("GET", "/repo/tree")) == 3


@pytest.mark.parametrize("times", [1, 2])
def test_a_refusal_that_is_a_mood_passes(world: World, times: int) -> None:
    world.server.moody = times
    assert world.resolve().files


def test_a_refusal_that_stays_is_one(world: World) -> None:
    world.server.moody = 99
    with pytest.raises(Unauthorized, match="no permission") as raised:
        world.resolve()
    assert "MODELSCOPE_API_TOKEN" in str(raised.value.hint)


def test_the_token_goes_as_a_cookie_too(world: World) -> None:
    world.token = secret("token")
    world.server.users[world.token] = "bob"
    assert world.resolve(world.private).files
    assert world.site.requests[-1].headers["cookie"] == f"m_session_id={world.token}"


def test_revisions_and_choices(world: World) -> None:
    world.server.repositories["models", "ns/tree"].revisions["v1"] = {"only.bin": b"1"}
    assert names(world, "ms://ns/tree@v1") == ["only.bin"]
    assert names(world, "ms://ns/tree/b/c") == ["b/c/0.bin", "b/c/1.bin", "b/c/2.bin"]
    assert names(world, "ms://ns/tree/a/1.bin") == ["a/1.bin"]
    assert names(world, "ms://ns/tree?include=0.bin&exclude=a/") == ["b/c/0.bin", "b/d/0.bin"]
    assert world.resolve("ms://ns/tree").pinned == "modelscope://ns/tree@master"
    assert world.resolve("ms://ns/tree").licence == "apache-2.0"


@pytest.mark.parametrize("address", ["ms://ns/none", "ms://ns/tree@nope", "ms://ns/tree/nope.bin"])
def test_what_is_not_there(world: World, address: str) -> None:
    with pytest.raises(NotFound):
        world.resolve(address)


def test_failure_with_status_200_is_failure(world: World) -> None:
    body = b'{"Code": 10010205001, "Success": false, "Message": "not exists", "Data": {}}'
    world.site.fault(lambda method, path: True, actions.Status(200, {"Content-Type": "application/json"}, body))
    with pytest.raises(NotFound, match="not exists"):
        world.resolve()


def test_small_files_come_whole_whatever_is_asked(world: World) -> None:
    file = next(file for file in world.resolve().files if file.path == "config.json")
    source = world.resolver.open(file, file.places[0], world.ctx())
    assert source.probe().ranges is False
    assert source.caps.ranges is False
    assert list(source.read(2, 5)) == [(2, FILES["config.json"][2:5])]


def test_other_addresses_are_refused(world: World) -> None:
    with pytest.raises(UsageError):
        world.resolve("hf://ns/name")
