"""What sources offer cannot be unsafe, senseless or secret."""

from __future__ import annotations

import pytest

from modelops_bundle.errors import Corrupt, UnsafePath
from modelops_bundle.model.remote import Place, RemoteFile, Resolution, Validator
from tests.support.canary import secret

HERE = (Place("http", "https://example.com:8443/a"),)
SHA = "0123456789abcdef" * 4


def a_file(path: str = "a.bin", size: int | None = 1, **digests: str) -> RemoteFile:
    return RemoteFile(path, size, digests, None, HERE)


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", ".git/config", "nul", "a\u202eb", ""])
def test_unsafe_paths_are_no_files(path: str) -> None:
    with pytest.raises(UnsafePath):
        a_file(path)


@pytest.mark.parametrize(
    "digests",
    [{"sha256": "12"}, {"sha256": SHA.upper()}, {"sha512": SHA}, {"git_sha1": SHA[:40]}, {"crc32": "xyzxyzxy"}],
)
def test_digests_are_what_they_say(digests: dict[str, str]) -> None:
    with pytest.raises(Corrupt):
        a_file(**digests)


def test_sizes_and_places_are_needed() -> None:
    with pytest.raises(Corrupt):
        a_file(size=-1)
    with pytest.raises(Corrupt):
        RemoteFile("a", 1, {}, None, ())


def test_files_are_values() -> None:
    digests = {"sha256": SHA}
    file = RemoteFile("a", 1, digests, None, HERE, {"licence": "mit"})
    digests["sha256"] = "changed"
    assert file.digests == {"sha256": SHA}
    assert hash(file) == hash(RemoteFile("a", 1, {"sha256": SHA}, None, HERE, {"licence": "apache-2.0"}))
    with pytest.raises(TypeError):
        file.meta["x"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    "url", ["https://me:{}@example.com/a", "https://example.com/a?token={}", "https://e.com/?Access_Token={}"]
)
def test_places_hold_no_secret(url: str) -> None:
    word = secret("token")
    with pytest.raises(Corrupt) as raised:
        Place("http", url.format(word))
    assert word not in raised.value.message


def test_a_place_knows_its_host() -> None:
    assert HERE[0].host == "example.com:8443"
    assert Place("file", "file:///a").host == ""


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"etag": '"abc"', "last-modified": "x"}, Validator("etag", '"abc"', True)),
        ({"etag": 'W/"abc"'}, Validator("etag", 'W/"abc"', False)),
        ({"etag": '""'}, Validator("etag", '""', False)),
        (
            {"last-modified": "Fri, 20 Nov 2026 00:00:00 GMT"},
            Validator("last-modified", "Fri, 20 Nov 2026 00:00:00 GMT", False),
        ),
        ({}, None),
    ],
)
def test_validators_of_answers(headers: dict[str, str], expected: Validator | None) -> None:
    assert Validator.of(headers) == expected


def test_a_resolution_is_sorted_and_one_tree() -> None:
    found = Resolution("hf://a/b", "hf://a/b@c", (a_file("b"), a_file("a", 2)))
    assert [file.path for file in found.files] == ["a", "b"]
    assert found.size == 3
    assert Resolution("x", "x", (a_file("a", None),)).size is None
    with pytest.raises(UnsafePath):
        Resolution("x", "x", (a_file("a"), a_file("A")))
    with pytest.raises(UnsafePath):
        Resolution("x", "x", (a_file("a"), a_file("a/b")))
