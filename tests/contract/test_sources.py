"""What every resolver keeps, each against its fake hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelops_bundle.errors import BundleError, NotFound, RateLimited, SourceChanged, Unauthorized, Unavailable
from modelops_bundle.model import source_uri
from modelops_bundle.model.remote import RangeSource, RemoteFile, Resolver
from modelops_bundle.sources import schemes
from modelops_bundle.testing import actions
from tests.support.canary import secret
from tests.support.hubs import WORLDS, World


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with WORLDS[request.param]("bob") as world:
        yield world


def read(source: RangeSource, start: int = 0, stop: int | None = None) -> bytes:
    pieces = sorted(source.read(start, stop))
    at = start
    for offset, data in pieces:
        assert offset == at
        at += len(data)
    return b"".join(data for _, data in pieces)


def opened(world: World, file: RemoteFile) -> RangeSource:
    return world.resolver.open(file, file.places[0], world.ctx())


def weights(world: World) -> RemoteFile:
    return next(file for file in world.resolve().files if file.path == "model.safetensors")


def test_it_keeps_the_port(world: World) -> None:
    assert isinstance(world.resolver, Resolver)
    found = schemes.read(world.address)
    assert type(found[1]) is type(world.resolver)
    assert found[0] == world.resolver.parse(world.address)


def test_resolving_lists_files_and_digests(world: World) -> None:
    found = world.resolve()
    assert {file.path for file in found.files} == set(world.files)
    for file in found.files:
        data = world.files[file.path]
        assert file.size in (None, len(data))
        known = {"sha256": hashlib.sha256(data).hexdigest()}
        known["git-sha1"] = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        assert {name: file.digests[name] for name in known if name in file.digests}.items() <= known.items()
        assert set(known) & set(file.digests)
        assert file.validator is not None and file.validator.kind == "digest"


def test_what_is_pinned_resolves_to_the_same(world: World) -> None:
    found = world.resolve()
    assert found.canonical == str(source_uri.parse(world.address))
    again = world.resolve(found.pinned)
    assert (again.files, again.pinned) == (found.files, found.pinned)


def test_files_read_whole_and_in_parts(world: World) -> None:
    for file in world.resolve().files:
        data = world.files[file.path]
        source = opened(world, file)
        assert source.probe().size == len(data)
        assert read(source) == data
        assert read(source, 3, 7) == data[3:7]
        assert read(source, len(data) - 2) == data[-2:]
        assert read(source, 5, 5) == b""


def test_the_redirect_is_followed_once_for_many_ranges(world: World) -> None:
    file = weights(world)
    source = opened(world, file)
    assert source.probe().ranges
    before = len(world.site.requests)
    for start in range(0, 4096, 512):
        assert read(source, start, start + 512) == world.files[file.path][start : start + 512]
    assert len(world.site.requests) == before
    assert source.caps.ranges is True


def test_an_expired_address_is_asked_for_anew(world: World) -> None:
    source = opened(world, weights(world))
    source.probe()
    world.storage.expire()
    assert read(source, 0, 100) == world.files["model.safetensors"][:100]
    source.refresh("soon over")
    assert read(source, 0, 100) == world.files["model.safetensors"][:100]


def test_many_threads_share_a_source_whose_address_expires(world: World) -> None:
    file = weights(world)
    source = opened(world, file)
    source.probe()
    world.storage.expire()
    parts = [(start, start + 512) for start in range(0, 8192, 512)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: read(source, *part), parts))
    assert b"".join(found) == world.files[file.path][:8192]


def test_no_login_reaches_the_second_origin(world: World) -> None:
    world.token = secret("token")
    world.server.users[world.token] = "bob"
    found = world.resolve(world.private)
    file = next(file for file in found.files if file.path == "model.safetensors")
    source = opened(world, file)
    assert read(source, 0, 10) == world.files[file.path][:10]
    assert read(source) == world.files[file.path]
    assert any("authorization" in one.headers for one in world.site.requests)
    assert world.storage.site.requests
    assert world.storage.leaks == []
    assert world.token not in repr(found) + repr(source) + repr(world.events)


def test_what_needs_a_login_says_where_to_get_one(world: World) -> None:
    with pytest.raises((Unauthorized, NotFound)) as raised:
        found = world.resolve(world.private)
        opened(world, found.files[0]).probe()
    error = raised.value
    assert "set " in str(error.hint) and "TOKEN" in str(error.hint)
    assert str(error.facts["page"]).startswith("https://")


def test_what_is_not_there(world: World) -> None:
    with pytest.raises(BundleError) as raised:
        world.resolve(world.missing)
    assert isinstance(raised.value, (NotFound, Unauthorized))
    assert raised.value.hint


def test_trouble_passes(world: World) -> None:
    world.site.fault(lambda method, path: True, actions.Status(503), times=2)
    assert world.resolve().files
    assert len(world.waited) == 2


def test_trouble_that_stays_is_unavailable_and_not_absence(world: World) -> None:
    world.site.fault(lambda method, path: True, actions.Status(500), times=None)
    with pytest.raises(Unavailable):
        world.resolve()


def test_a_quota_is_waited_for(world: World) -> None:
    world.site.fault(lambda method, path: True, actions.Status(429, {"RateLimit": '"api";r=0;t=41'}))
    assert world.resolve().files
    assert 42.0 <= world.waited[0] <= 43.0


def test_a_quota_that_ends_too_late_is_said(world: World) -> None:
    world.site.fault(lambda method, path: True, actions.Status(429, {"Retry-After": "4000"}), times=None)
    with pytest.raises(RateLimited):
        world.resolve()


@pytest.mark.parametrize("body", [b"<!DOCTYPE html>", b"[1", b"{}", b"[]", b"null", b'{"Data": 3}', b"[" * 100_000])
def test_nonsense_is_an_error_of_ours(world: World, body: bytes) -> None:
    kind = "text/html" if body.startswith(b"<") else "application/json"
    world.site.fault(lambda method, path: True, actions.Status(200, {"Content-Type": kind}, body), times=None)
    with pytest.raises(BundleError) as raised:
        world.resolve()
    assert raised.value.exit_code in (6, 8, 9)


def test_a_file_that_was_replaced_is_not_mixed(world: World) -> None:
    file = weights(world)
    source = opened(world, file)
    read(source, 0, 100)
    # Storage has other bytes of the same size under the same address.
    for key in list(world.storage.objects):
        world.storage.objects[key] = bytes(len(world.storage.objects[key]))
    world.storage.site.fault(lambda method, path: True, actions.Headers({"ETag": '"other"'}), times=None)
    with pytest.raises(SourceChanged):
        read(source, 100, 200)


def test_a_web_page_is_no_model(world: World) -> None:
    file = weights(world)
    page = actions.Status(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!DOCTYPE html>log in")
    world.site.fault(lambda method, path: "resolve" in path or "download" in path or "/repo?" in path, page, times=None)
    with pytest.raises(BundleError, match="web page"):
        opened(world, file).probe()


def test_a_body_that_ends_early_is_said(world: World) -> None:
    source = opened(world, weights(world))
    source.probe()
    world.storage.site.fault(lambda method, path: True, actions.Cut(50))
    with pytest.raises(Unavailable) as raised:
        read(source, 0, 1000)
    assert raised.value.facts["transient"] is True
    assert read(source, 0, 1000) == world.files["model.safetensors"][:1000]
