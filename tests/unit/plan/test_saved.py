"""Chunk maps in saved plans."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.chunkmap import ChunkMap
from modelops_bundle.plan import saved
from tests.support import chunked

A, B, C = b"a" * 1000, b"b" * 1000, bytes(range(250)) * 4
FIRST = chunked.plain({"m.bin": [A, B], "n.bin": [C]})
MAPS = {
    "empty": ChunkMap(),
    "plain": FIRST.chunks,
    "delta": chunked.delta({"m.bin": [A, C], "n.bin": [C]}, FIRST, codec="zstd").chunks,
    "borrowed": chunked.delta({"m.bin": [A, C[::-1]], "n.bin": [C]}, FIRST, borrow=True).chunks,
    "differences": chunked.delta(
        {"m.bin": [A, A[1:] + b"b"]}, FIRST, codec="xor+bp2+zstd", xor={A[1:] + b"b": A}
    ).chunks,
}


def written(chunks: ChunkMap) -> dict[str, Any]:
    value = json.loads(json.dumps(saved.map_to_json(chunks)))
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("name", MAPS)
def test_a_map_reads_back(name: str) -> None:
    chunks = MAPS[name]
    again = saved.map_from_json(written(chunks))
    assert again == chunks
    for path, recipe in chunks.files.items():
        assert again.files[path].packs == recipe.packs


def test_recipes_and_packs_read_back_alone() -> None:
    chunks = MAPS["differences"]
    packs = saved.packs_from_json(json.loads(json.dumps(saved.packs_to_json(chunks.packs))))
    assert packs == chunks.packs
    recipe = chunks.files["m.bin"]
    assert saved.recipe_from_json(json.loads(json.dumps(saved.recipe_to_json(recipe))), packs) == recipe


def _size(value: dict[str, Any]) -> None:
    value["packs"][0]["blob"]["size"] += 1


def _segment(value: dict[str, Any]) -> None:
    value["files"]["m.bin"]["segments"][0][2] += 100


def _base(value: dict[str, Any]) -> None:
    next(pack for pack in value["packs"] if "base" in pack)["base"] = {"0": [9, 9]}


def _earlier(value: dict[str, Any]) -> None:
    value["earlier"] = ["?"]


@pytest.mark.parametrize("change", [_size, _segment, _base, _earlier], ids=lambda change: change.__name__)
def test_a_map_that_contradicts_itself_is_corrupt(change: Callable[[dict[str, Any]], None]) -> None:
    value = written(MAPS["differences"])
    change(value)
    with pytest.raises(Corrupt):
        saved.map_from_json(value)
