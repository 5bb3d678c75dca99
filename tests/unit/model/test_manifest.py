"""Manifests: canonical when ours, verbatim when received, refused when they could be read in two ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest

CONFIG = Descriptor.of(media.OCI_EMPTY, b"{}")
LAYER = Descriptor.of("t/x", b"abc", {media.TITLE: "a"})
OURS = Manifest(CONFIG, (LAYER,), {"k": "v"}, "a/type")


def doc(**changes: Any) -> bytes:
    value = {**json.loads(OURS.to_bytes()), **changes}
    return json.dumps({key: item for key, item in value.items() if item is not None}).encode()


def test_ours_is_canonical() -> None:
    data = OURS.to_bytes()
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    assert OURS.digest == Digest.of(data)
    assert OURS.descriptor() == Descriptor.of(media.OCI_MANIFEST, data)


def test_parse_of_print_is_the_same_manifest() -> None:
    again = Manifest.from_bytes(OURS.to_bytes())
    assert (again.config, again.layers, dict(again.annotations), again.artifact_type) == (
        CONFIG,
        (LAYER,),
        {"k": "v"},
        "a/type",
    )


def test_received_bytes_are_kept_verbatim() -> None:
    data = json.dumps(json.loads(OURS.to_bytes()), indent=3).encode()
    again = Manifest.from_bytes(data)
    assert again.to_bytes() == data
    assert again.digest == Digest.of(data) != OURS.digest


def test_absent_annotations_and_artifact_type() -> None:
    plain = Manifest.from_bytes(doc(annotations=None, artifactType=None))
    assert dict(plain.annotations) == {}
    assert plain.artifact_type is None
    assert b"annotations" not in Manifest(CONFIG, ()).to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        doc(layers=None),
        doc(layers={}),
        doc(layers=[1]),
        doc(layers=[{"mediaType": "t/x", "digest": str(LAYER.digest), "size": -1}]),
        doc(config=None),
        doc(config=[]),
        doc(schemaVersion=1),
        doc(schemaVersion=None),
        doc(mediaType=3),
        doc(annotations={"a": 1}),
        doc(manifests=[]),
        b"<html>",
        b'{"schemaVersion":2,"layers":[],"layers":[]}',
    ],
)
def test_what_is_no_manifest_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        Manifest.from_bytes(data)


@pytest.mark.parametrize("kind", [media.OCI_INDEX, media.DOCKER_LIST])
def test_an_index_is_unsupported_and_named(kind: str) -> None:
    with pytest.raises(Unsupported, match="image index"):
        Manifest.from_bytes(doc(mediaType=kind, layers=None, manifests=[]))


def test_an_index_without_a_media_type_is_recognised() -> None:
    with pytest.raises(Unsupported, match="image index"):
        Manifest.from_bytes(b'{"schemaVersion":2,"manifests":[]}')


def test_another_kind_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="application/other"):
        Manifest.from_bytes(doc(mediaType="application/other"))


def test_a_server_that_calls_it_something_else_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="the server says"):
        Manifest.from_bytes(doc(), media.OCI_INDEX)
    with pytest.raises(Corrupt, match="the server says"):
        Manifest.from_bytes(doc(mediaType=media.OCI_INDEX, manifests=[]), media.OCI_MANIFEST)


@pytest.mark.parametrize("served", [None, media.OCI_MANIFEST, f"{media.OCI_MANIFEST}; charset=utf-8", "text/plain"])
def test_a_server_that_agrees_or_does_not_know_is_fine(served: str | None) -> None:
    assert Manifest.from_bytes(doc(), served).media_type == media.OCI_MANIFEST


def test_the_servers_word_counts_where_the_manifest_has_none() -> None:
    assert Manifest.from_bytes(doc(mediaType=None), media.DOCKER_MANIFEST).media_type == media.DOCKER_MANIFEST
    with pytest.raises(Unsupported, match="image index"):
        Manifest.from_bytes(doc(mediaType=None), media.OCI_INDEX)


def test_five_mebibytes_are_refused() -> None:
    with pytest.raises(Corrupt, match="more than the 4194304 accepted"):
        Manifest.from_bytes(doc(annotations={"a": "x" * (5 << 20)}))
