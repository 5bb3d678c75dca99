"""The artifact: a pure function of the tree, read back as the same tree; ModelPack whatever the tree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.model import media
from modelops_bundle.model.artifact import INDEX_PATH, build, read
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.snapshot import Entry, Snapshot
from tests.support.strategies import snapshots, texts

VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[1] / "data" / "modelpack-config-schema.json").read_text(encoding="utf-8"))
)
annotations = st.dictionaries(texts.filter(lambda key: not key.startswith(media.PREFIX)), texts, max_size=3)


def fields(tree: Mapping[str, Entry]) -> dict[str, tuple[Any, ...]]:
    """Everything of a tree, role and target too, which take no part in equality."""
    return {p: (e.kind, e.digest, e.size, e.executable, e.role, e.target) for p, e in tree.items()}


@given(snapshots(), annotations)
def test_a_tree_survives_its_artifact(tree: Snapshot, own: dict[str, str]) -> None:
    made = build(tree, own)
    received = Manifest.from_bytes(made.manifest.to_bytes())
    found = read(received, lambda what: dict(made.generated())[what])
    assert fields(found.snapshot) == fields(tree)
    assert found.snapshot.content == tree.content
    assert {path: place.blob.digest for path, place in found.places.items()} == {
        path: entry.digest for path, entry in tree.items() if entry.kind == "file"
    }
    assert received.digest == made.digest
    assert {key: received.annotations[key] for key in own} == own


@given(snapshots(), st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_of_insertion(tree: Snapshot, random: Any) -> None:
    pairs = list(tree.items())
    random.shuffle(pairs)
    assert build(Snapshot(pairs)).digest == build(tree).digest
    assert Snapshot(pairs).content == tree.content


@given(snapshots(), snapshots())
def test_equal_digests_mean_equal_trees(one: Snapshot, other: Snapshot) -> None:
    assert (one.content == other.content) == (one == other)
    assert (build(one).digest == build(other).digest) == (fields(one) == fields(other))


@given(snapshots())
def test_every_artifact_is_modelpack(tree: Snapshot) -> None:
    made = build(tree)
    config = json.loads(made.config)
    VALIDATOR.validate(config)
    assert config["modelfs"]["diffIds"] == [str(layer.digest) for layer in made.manifest.layers]
    assert made.manifest.artifact_type == media.MODEL_ARTIFACT
    named = {layer.annotations[media.FILEPATH] for layer in made.manifest.layers}
    assert named == {INDEX_PATH} | {path for path, entry in tree.items() if entry.kind == "file"}
    assert all(media.role_of_layer(layer.media_type) for layer in made.manifest.layers)


@given(snapshots())
def test_every_blob_of_the_manifest_is_a_file_or_generated(tree: Snapshot) -> None:
    made = build(tree)
    have = {what.digest for what, _ in made.file_blobs()} | {what.digest for what, _ in made.generated()}
    assert have == {layer.digest for layer in made.manifest.layers} | {made.manifest.config.digest}
    assert len({what.digest for what, _ in made.file_blobs()}) == len(made.file_blobs())
    assert all(tree[path].digest == what.digest for what, path in made.file_blobs())


@given(snapshots())
def test_a_snapshot_survives_json(tree: Snapshot) -> None:
    assert fields(Snapshot.from_json(json.loads(json.dumps(tree.to_json())))) == fields(tree)
