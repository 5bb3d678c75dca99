"""Indexes of delta versions with anything else in any place: a file is what its row says, or nothing is written."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import BundleError
from modelops_bundle.events import Run
from modelops_bundle.model.artifact import INDEX_PATH
from modelops_bundle.model.digest import Digest
from modelops_bundle.operations.materialize import Choices, materialize
from modelops_bundle.operations.session import Session
from tests.support.bundle import tree
from tests.support.chunked import cut, delta, plain
from tests.support.deltas import edited, near, pulled, weights
from tests.support.oci import dumps
from tests.support.strategies import hostile_paths, json_values

OLD = weights(1, 6_000)
NEAR = near(OLD)
FILES = {"a.bin": edited(OLD, 2, 4), "weights/b.bin": NEAR}
XOR = dict(zip(cut(NEAR), cut(OLD), strict=True))
VERSION = delta(
    {**{path: cut(data) for path, data in FILES.items()}, "config.json": b"{}"},
    plain({"a.bin": cut(OLD)}),
    codec="xor+bp2+zstd",
    xor=XOR,
)
INDEX = json.loads(VERSION.artifact.index)
Place = tuple[Any, Any]
"""A list or object of the index, and where in it something is replaced."""


def places(value: Any) -> Iterator[Place]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


COUNT = len(list(places(INDEX)))
numbers = st.integers(-1, 8) | st.integers(0, 2**64) | st.just(2**31)
segments = st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=3), max_size=6)


@given(st.integers(0, COUNT - 1), numbers | segments | hostile_paths | json_values, st.booleans())
def test_anything_else_in_any_place(number: int, other: Any, overwrite: bool) -> None:
    index = copy.deepcopy(INDEX)
    inside, key = list(places(index))[number]
    inside[key] = other
    with TemporaryDirectory() as name:
        root = pulled(VERSION, Path(name) / "model")
        (root / INDEX_PATH).write_bytes(dumps(index))
        before = tree(root.parent)
        with suppress(BundleError), Session(None, Run(), cwd=root) as session:
            materialize(session, root, Choices(overwrite))
        after = tree(root.parent)
        assert before.keys() <= after.keys()
        # Chunks that turn out wrong end one file; others may be there by then.
        changed = {path.removeprefix("model/"): node for path, node in after.items() if before.get(path) != node}
        rows = {row["path"]: row for row in index["files"]} if changed else {}
        for path, node in changed.items():
            assert (Digest.of(node.content).hex, len(node.content)) == (rows[path]["sha256"], rows[path]["size"])
            assert node.content in FILES.values()
