"""What the manifests of other tools say of their layers (how it ends is told in tests/flow/test_foreign.py)."""

from __future__ import annotations

import json

import pytest

from modelops_bundle.errors import UnsafePath, Unsupported
from modelops_bundle.model import foreign
from modelops_bundle.model.foreign import Piece
from modelops_bundle.model.manifest import Manifest
from tests.support import foreign as made
from tests.support.oci import TITLE, Forged, titled


def pieces(forged: Forged) -> list[Piece]:
    manifest = Manifest.from_bytes(forged.manifest, forged.media_type)
    config = forged.blobs[0] if foreign.needs_config(manifest) else None
    return list(foreign.pieces(manifest, config))


@pytest.mark.parametrize("title", [".", "./", "./.", "././.", ".//"])
def test_every_spelling_of_the_root_is_the_root(title: str) -> None:
    (piece,) = pieces(made.oras((title, b"x")))
    assert (piece.archive, piece.path, piece.within) == (True, "", "")


@pytest.mark.parametrize("title", ["dir", "./dir", "dir/", "./dir/./"])
def test_a_directory_is_one_however_it_is_spelled(title: str) -> None:
    (piece,) = pieces(made.oras((title, b"x")))
    assert piece.within == "dir"


@pytest.mark.parametrize("title", ["..", "a/../..", "/", "/a", ".git", "a\\b"])
def test_a_directory_nobody_may_create_is_refused(title: str) -> None:
    with pytest.raises(UnsafePath):
        pieces(made.oras((title, b"x")))


def test_roles_come_with_types() -> None:
    found = pieces(made.modelpack(("weight.v1.raw", "a", b"x"), ("weight.config.v1.tar", "b", b"y")))
    assert [(piece.path, piece.role, piece.archive) for piece in found] == [
        ("a", "weight", False),
        ("", "config", True),
    ]


def test_layers_without_a_name_are_not_for_the_tree() -> None:
    forged = made.manifest([("application/a", b"x", {TITLE: "a"}), ("application/b", b"y", {})])
    assert [piece.path for piece in pieces(forged)] == ["a"]


def test_a_titled_config_is_a_file() -> None:
    value = json.loads(titled([("a", b"x")]).manifest)
    value["config"]["annotations"] = {TITLE: "config.json"}
    forged = Forged(json.dumps(value).encode())
    assert [piece.path for piece in pieces(forged)] == ["a", "config.json"]


@pytest.mark.parametrize("kind", ["", "application/vnd.acme.x.v1.tar", "text/plain"])
def test_plain_tars_without_a_name_could_be_anything(kind: str) -> None:
    with pytest.raises(Unsupported):
        pieces(made.manifest([(kind, b"x", {})]))


@pytest.mark.parametrize(
    "kind", ["application/vnd.cncf.flux.content.v1.tar+gzip", "application/x.tar.gzip", "application/tgz"]
)
def test_one_archive_is_the_whole_tree(kind: str) -> None:
    (piece,) = pieces(made.manifest([(kind, b"x", {})]))
    assert (piece.archive, piece.path, piece.within) == (True, "", "")


def test_the_signature_of_a_chart_is_not_part_of_it() -> None:
    forged = made.manifest(
        [
            ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"x", {}),
            ("application/vnd.cncf.helm.chart.provenance.v1.prov", b"y", {}),
        ]
    )
    assert len(pieces(forged)) == 1


@pytest.mark.parametrize("config", [made.IMAGE_CONFIG, made.DOCKER_CONFIG])
def test_container_images_are_called_by_their_name(config: str) -> None:
    with pytest.raises(Unsupported, match="container image"):
        pieces(made.manifest([(f"{made.LAYER}+gzip", b"x", {})], (config, b"{}")))


def test_old_kits_have_archives_beside_their_paths() -> None:
    _, piece = pieces(made.modelkit({"code": [{"path": "./src/run.py"}]}, ("code", b"x")))
    assert (piece.path, piece.within) == ("src", "src/run.py")


def test_a_docker_model_without_layers_is_nothing() -> None:
    with pytest.raises(Unsupported):
        pieces(made.manifest([], ("application/vnd.docker.ai.model.config.v0.2+json", b"{}")))
