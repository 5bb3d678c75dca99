"""Which manifests of an image index make up a version."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.model import image_index, media
from modelops_bundle.model.image_index import Child, children, chosen

DIGEST = "sha256:" + "0" * 64


def item(**fields: Any) -> dict[str, Any]:
    return {"mediaType": media.OCI_MANIFEST, "digest": DIGEST, "size": 2, **fields}


def index(*items: Any, **fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": list(items), **fields}).encode()


def on(*platforms: str | None) -> list[Child]:
    what = children(index(item()))[0].what
    return [Child(what, platform) for platform in platforms]


def test_platforms_are_read() -> None:
    data = index(
        item(),
        item(platform={"os": "linux", "architecture": "arm", "variant": "v7"}),
        item(platform={"os": "linux", "architecture": "amd64"}),
        item(annotations={"vnd.docker.reference.type": "attestation-manifest"}),
    )
    assert [child.platform for child in children(data)] == [None, "linux/arm/v7", "linux/amd64"]


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b'{"schemaVersion":2}',
        index(item(), schemaVersion=1),
        index(item(), layers=[]),
        index(item(), config={}),
        index(item(), mediaType=media.OCI_MANIFEST),
        index({}),
        index("x"),
        index(item(platform="linux/amd64")),
        index(item(platform={"os": 1, "architecture": "x"})),
        index(item(platform={"os": "linux"})),
        index(item(platform={"os": "linux", "architecture": "arm", "variant": 7})),
    ],
)
def test_what_is_no_index_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        children(data)


@pytest.mark.parametrize("items", [[item(mediaType=media.OCI_INDEX)], [item()] * (image_index.MOST + 1)])
def test_indexes_within_and_too_many_are_not_read(items: list[dict[str, Any]]) -> None:
    with pytest.raises(Unsupported):
        children(index(*items))


def test_shards_are_all_meant() -> None:
    assert len(chosen(on(None, None), "linux/amd64")) == 2


@pytest.mark.parametrize(
    ("offered", "wanted", "fitting"),
    [
        (["linux/amd64", "linux/arm64"], "linux/arm64", ["linux/arm64"]),
        (["linux/arm/v7", "linux/arm/v6"], "linux/arm/v6", ["linux/arm/v6"]),
        (["linux/arm64/v8"], "linux/arm64", ["linux/arm64/v8"]),
        (["linux/arm64"], "linux/arm64/v8", ["linux/arm64"]),
    ],
)
def test_platforms_fit(offered: list[str], wanted: str, fitting: list[str]) -> None:
    assert [child.platform for child in chosen(on(*offered), wanted)] == fitting


def test_variants_are_never_mixed() -> None:
    offered = on("linux/arm/v6", "linux/arm/v7")
    with pytest.raises(Unsupported, match="several variants"):
        chosen(offered, "linux/arm")
    assert chosen(offered, "linux/arm/v7") == (offered[1],)
    with pytest.raises(Unsupported):
        chosen(on("linux", "linux/amd64"), "linux/arm64")


@pytest.mark.parametrize("offered", [["linux/amd64"], ["linux/amd64", None], []])
def test_what_is_not_offered_is_unsupported(offered: list[str | None]) -> None:
    with pytest.raises(Unsupported):
        chosen(on(*offered), "plan9/mips")


@pytest.mark.parametrize(
    ("data", "served", "expected"),
    [
        (b"{}", media.OCI_INDEX, True),
        (b"{}", f"{media.DOCKER_LIST}; charset=utf-8", True),
        (b'{"manifests":[]}', None, True),
        (b'{"manifests":[]}', media.OCI_MANIFEST, False),
        (b"{}", None, False),
        (b'{"annotations":{"manifests":"x"},"layers":[]}', None, False),
        (b'{"manifests":[],"layers":[]}', None, False),
        (b'"manifests" and no JSON', None, False),
    ],
)
def test_what_counts_as_an_index(data: bytes, served: str | None, expected: bool) -> None:
    assert image_index.is_one(data, served) is expected


def test_machines_in_the_words_of_indexes() -> None:
    assert image_index.platform_of("Linux", "x86_64") == "linux/amd64"
    assert image_index.platform_of("Darwin", "arm64") == "darwin/arm64"
    assert image_index.platform_of("Linux", "aarch64") == "linux/arm64"
    assert image_index.platform_of("Linux", "armv7l") == "linux/arm/v7"
