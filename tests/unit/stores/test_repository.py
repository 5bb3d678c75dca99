from __future__ import annotations

import pytest

from modelops_bundle.errors import Corrupt, UsageError
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.net.client import Client
from modelops_bundle.net.exchange import Reply
from modelops_bundle.stores.repository import Repository, key_of, said_otherwise, wrong

DIGEST = Digest.of(b"x")


def repository(host: str = "registry.example:5000", name: str = "team/model") -> Repository:
    return Repository(Client(), host, name)


def test_urls_and_scopes() -> None:
    one = repository()
    read = one.request("HEAD", "blobs/x", "blob")
    assert read.url == "https://registry.example:5000/v2/team/model/blobs/x"
    assert read.scope == "repository:team/model:pull"
    assert one.request("POST", "blobs/uploads/", "upload").scope == "repository:team/model:pull,push"
    assert one.request("DELETE", "m", "manifest", actions="delete").scope == "repository:team/model:delete"
    assert one.request("PUT", "https://registry.example:5000/u", "upload").url == "https://registry.example:5000/u"


def test_docker_hub_has_another_address_and_a_library() -> None:
    assert repository("docker.io", "alpine").request("GET", "x", "blob").url == (
        "https://registry-1.docker.io/v2/library/alpine/x"
    )
    assert repository("docker.io", "team/model").name == "team/model"
    assert repository("ghcr.io", "alpine").name == "alpine"


@pytest.mark.parametrize("name", ["", "a:tag", "A/b", "../x", "a/../b", "a@sha256:" + "a" * 64, "a?b", "a//b", "/a"])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(UsageError):
        repository(name=name)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v2/x", "https://registry.example:5000/v2/x"),
        ("?last=a", "https://registry.example:5000/v2/base?last=a"),
        ("https://registry.example:5000/y", "https://registry.example:5000/y"),
        ("http://registry.example:5000/y", "https://registry.example:5000/y"),
        ("https://registry.example/y", None),
        ("https://registry.example:5001/y", None),
        ("https://evil.example:5000/y", None),
        ("//evil.example/y", None),
    ],
)
def test_what_the_registry_points_at(target: str, expected: str | None) -> None:
    assert repository().below("https://registry.example:5000/v2/base", target) == expected


def test_plain_registries_are_not_left_for_tls() -> None:
    assert repository("localhost:5000").below("http://localhost:5000/x", "https://localhost:5000/y") is None


def test_a_target_that_is_no_web_address() -> None:
    with pytest.raises(Corrupt):
        repository().below("https://registry.example:5000/x", "file:///etc/passwd")


@pytest.mark.parametrize(
    ("said", "lie"), [(str(DIGEST), False), ("", False), ("sha512:abc", False), ("sha256:" + "0" * 64, True)]
)
def test_digests_said_and_true(said: str, lie: bool) -> None:
    assert (said_otherwise({"docker-content-digest": said}, DIGEST, "h") is not None) is lie


@pytest.mark.parametrize(
    ("said", "expected"), [("Thu, 01 Jan 1970 00:01:40 GMT", 100.0), ("garbage", None), (None, None)]
)
def test_the_registrys_clock(said: str | None, expected: float | None) -> None:
    one = repository()
    one._note({} if said is None else {"date": said})
    assert one.now() == expected


def test_the_clock_stays_when_an_answer_has_none() -> None:
    one = repository()
    one._note({"date": "Thu, 01 Jan 1970 00:01:40 GMT"})
    one._note({})
    assert one.now() == 100.0


def test_errors_and_keys() -> None:
    one = repository()
    request = one.request("PUT", "x", "manifest")
    error = one.error(request, Reply(403, {}, b"", request.url))
    assert error.message == "registry.example:5000 answered 403 to PUT manifest"
    assert key_of(Descriptor("x", DIGEST, 1)) == str(DIGEST)
    assert wrong("words", digest="d").error.facts == {"digest": "d"}
