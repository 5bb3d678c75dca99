"""Descriptors: read strictly, written as the specification says."""

from __future__ import annotations

import base64

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.descriptor import Descriptor, read_annotations
from modelops_bundle.model.digest import Digest

GOOD = {"mediaType": "t/x", "digest": str(Digest.of(b"abc")), "size": 3}


def test_content_is_described() -> None:
    found = Descriptor.of("t/x", b"abc")
    assert (found.media_type, found.digest, found.size, found.data) == ("t/x", Digest.of(b"abc"), 3, None)


def test_json_round_trip_with_everything() -> None:
    full = Descriptor.of("t/x", b"abc", {"k": "v"}, inline=True)
    value = full.to_json()
    assert value == {**GOOD, "annotations": {"k": "v"}, "data": base64.b64encode(b"abc").decode()}
    assert Descriptor.from_json(value) == full


def test_absent_fields_are_not_written() -> None:
    assert Descriptor.of("t/x", b"abc").to_json() == GOOD


def test_the_artifact_type_is_kept() -> None:
    assert Descriptor.from_json({**GOOD, "artifactType": "a/b"}).to_json()["artifactType"] == "a/b"
    assert Descriptor.from_json({**GOOD, "artifactType": 7}).artifact_type is None


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": 3.0},
        {"size": "3"},
        {"size": True},
        {"size": None},
        {"mediaType": None},
        {"mediaType": 5},
        {"digest": None},
        {"digest": "md5:abc"},
        {"digest": "sha256:../../etc/passwd"},
        {"annotations": []},
        {"annotations": {"a": 1}},
        {"data": "***"},
        {"data": 7},
    ],
)
def test_a_wrong_field_is_corrupt(change: dict[str, object]) -> None:
    if change == {"data": 7}:
        # Not base64 of three bytes: ignored like any wrong `data`.
        assert Descriptor.from_json({**GOOD, **change}).data is None
        return
    with pytest.raises(Corrupt):
        Descriptor.from_json({**GOOD, **change})


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_object_is_corrupt(value: object) -> None:
    with pytest.raises(Corrupt):
        Descriptor.from_json(value)


def test_inline_data_of_another_size_is_ignored() -> None:
    assert Descriptor.from_json({**GOOD, "data": base64.b64encode(b"abcd").decode()}).data is None


def test_absent_annotations_are_empty() -> None:
    assert dict(read_annotations(None)) == {}


def test_equal_descriptors_hash_equal_whatever_their_annotations() -> None:
    assert hash(Descriptor.of("t/x", b"abc", {"a": "b"})) == hash(Descriptor.of("t/x", b"abc", {"a": "b"}))
    assert Descriptor.of("t/x", b"abc", {"a": "b"}) != Descriptor.of("t/x", b"abc")
