"""Chunk maps in saved plans."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.chunkmap import (
    ChunkMap,
    ChunkPack,
    Listed,
    Recipe,
    check_bases,
    check_segments,
    list_from_json,
)
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest


def packs_to_json(packs: Iterable[ChunkPack]) -> list[dict[str, Any]]:
    """A JSON array that `packs_from_json` reads back."""
    return [{"blob": pack.blob.to_json(), **pack.chunks.to_json()} for pack in packs]


def packs_from_json(value: Iterable[Mapping[str, Any]]) -> tuple[ChunkPack, ...]:
    """Read what `packs_to_json` made.

    :raises Corrupt: it contradicts itself.
    """
    blobs = [(Descriptor.from_json(pack["blob"]), pack) for pack in value]
    packs = tuple(ChunkPack(blob, list_from_json(pack, blob.size)) for blob, pack in blobs)
    check_bases(packs)
    return packs


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """A JSON object that `recipe_from_json` reads back."""
    return {"chunker": recipe.chunker, "segments": [list(segment) for segment in recipe.segments]}


def recipe_from_json(value: Mapping[str, Any], packs: tuple[ChunkPack, ...]) -> Recipe:
    """Read what `recipe_to_json` made.

    :raises Corrupt: it names chunks that are not there.
    """
    return Recipe(str(value["chunker"]), check_segments(value["segments"], packs), packs)


def map_to_json(chunks: ChunkMap) -> dict[str, Any]:
    """A JSON object that `map_from_json` reads back."""
    return {
        "packs": packs_to_json(chunks.packs),
        "files": {path: recipe_to_json(recipe) for path, recipe in chunks.files.items()},
        "earlier": [base64.b64encode(data).decode() for data in chunks.earlier.values()],
        "borrowed": {
            str(digest): [listed.index.to_json(), listed.number] for digest, listed in chunks.borrowed.items()
        },
    }


def map_from_json(value: Mapping[str, Any]) -> ChunkMap:
    """Read what `map_to_json` made.

    :raises Corrupt: it contradicts itself.
    """
    packs = packs_from_json(value["packs"])
    try:
        earlier = [base64.b64decode(data, validate=True) for data in value["earlier"]]
    except (binascii.Error, ValueError) as error:
        raise Corrupt("the indexes in a saved plan cannot be read") from error
    return ChunkMap(
        packs,
        {path: recipe_from_json(recipe, packs) for path, recipe in value["files"].items()},
        {Digest.of(data): data for data in earlier},
        {
            Digest.parse(digest): Listed(Descriptor.from_json(index), int(number))
            for digest, (index, number) in value["borrowed"].items()
        },
    )
