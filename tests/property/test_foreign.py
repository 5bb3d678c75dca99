"""Whatever a manifest or a config of another tool says: pieces below the root, or an error that names it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import BundleError
from modelops_bundle.model import foreign, image_index, paths
from modelops_bundle.model.manifest import Manifest
from tests.support import foreign as made
from tests.support.oci import FILEPATH, TITLE

TEXTS = st.sampled_from(["a", "a/b", "./a", "..", "/", "", ".", "true", "oci", made.digest_of(b"x")]) | st.text(
    max_size=8
)
KEYS = [
    "path",
    "digest",
    "model",
    "parts",
    "code",
    "datasets",
    "docs",
    "files",
    "size",
    "storage",
    "os",
    "manifests",
    "a",
]
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [
        f"{made.LAYER}+gzip",
        f"{made.MODEL}weight.v1.raw",
        f"{made.MODEL}weight.v1.tar+zstd",
        "application/vnd.kitops.modelkit.code.v1.tar",
        "application/vnd.kitops.modelkit.model.v1.tar+gzip",
        "application/vnd.ollama.image.model",
        "application/vnd.docker.ai.gguf.v3",
        "application/x",
    ]
)
CONFIGS = st.sampled_from(
    [
        made.EMPTY_CONFIG,
        made.IMAGE_CONFIG,
        foreign.KITOPS_CONFIG,
        foreign.ORIGINAL_CONFIG,
        "application/vnd.docker.ai.model.config.v0.2+json",
    ]
)
NOTES = st.dictionaries(
    st.sampled_from([TITLE, FILEPATH, made.UNPACK, "org.cncf.model.file.metadata+json"]), TEXTS, max_size=3
)


@given(st.lists(st.tuples(TYPES, st.just(b"x"), NOTES), max_size=4), CONFIGS, VALUES)
def test_pieces_are_in_the_tree_or_refused(layers: list[made.Layer], config_type: str, config: object) -> None:
    data = json.dumps(config).encode()
    manifest = Manifest.from_bytes(made.manifest(layers, (config_type, data)).manifest)
    try:
        found = foreign.pieces(manifest, data if foreign.needs_config(manifest) else None)
    except BundleError as error:
        assert error.exit_code in (9, 10)
        return
    assert found or foreign.needs_config(manifest)
    for piece in found:
        for path in (piece.within, piece.path if piece.archive else ""):
            assert not path or paths.problem(path) is None


@given(VALUES)
def test_an_index_is_read_or_refused(value: object) -> None:
    document = {"schemaVersion": 2, **value} if isinstance(value, dict) else value
    try:
        image_index.chosen(image_index.children(json.dumps(document).encode()), "linux/amd64")
    except BundleError as error:
        assert error.exit_code in (9, 10)
