"""inspect: what a reference stands for, in one request."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.bundle import Bundle, call
from tests.support.clones import BASE, Pair
from tests.support.oci import Repository, digest_of


def test_digest_kind_annotations_and_content(pair: Pair) -> None:
    digest = pair.a.push()
    document = pair.a.json("inspect")
    assert document["digest"] == digest
    assert document["kind"] == "bundle"
    assert document["annotations"]["dev.modelops.bundle.version"]
    assert set(document["files"]) == set(BASE)
    assert document["size"] == 21
    text = pair.a.run("inspect", "--files").out
    assert digest in text
    assert "weights/a.bin" in text


def test_the_manifest_comes_byte_for_byte(repo: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", repo, BASE)
    digest = a.push()
    raw = a.run("inspect", "--manifest").data
    found = Repository(repo).manifest("latest")
    assert found is not None
    assert raw == found[1]
    assert digest_of(raw) == digest
    assert a.json("inspect", "--manifest")["manifest"] == json.loads(raw)


def test_by_digest_and_by_a_short_one(pair: Pair) -> None:
    a = pair.a
    digest = a.push()
    a.commit({"config.json": "v2\n"})
    assert a.json("inspect", f"@{digest}")["digest"] == digest
    assert a.json("inspect", ":latest")["digest"] != digest
    a.push("--tag", "other", "--annotation", "a=b")
    assert a.json("inspect", f"@{a.json('inspect', ':other')['digest'][7:15]}")["digest"]


def test_a_short_digest_that_nothing_begins_with(pair: Pair) -> None:
    assert pair.a.refused(6, "inspect", "@00000000000")["code"] == "not-found"


def test_outside_of_a_bundle(pair: Pair, tmp_path: Path) -> None:
    assert call("-C", str(tmp_path), "--json", "inspect", pair.remote).json["kind"] == "bundle"


def test_an_absent_tag(pair: Pair) -> None:
    error = pair.a.refused(6, "inspect", ":absent")
    assert "bundle tags" in error["hint"]


def test_the_config_is_what_the_published_schema_wants(repo: str, tmp_path: Path) -> None:
    """ModelPack config.md: modelfs lists every layer, in order, by digest."""
    a = Bundle.create(tmp_path / "a", repo, BASE)
    a.push()
    manifest = a.json("inspect", "--manifest")["manifest"]
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    types = {layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"] for layer in manifest["layers"]}
    assert types["weights/a.bin"] == "application/vnd.cncf.model.weight.v1.raw"
    assert types["config.json"] == "application/vnd.cncf.model.weight.config.v1.raw"
    assert types["README.md"] == "application/vnd.cncf.model.doc.v1.raw"
    assert list(types) == sorted(types)
