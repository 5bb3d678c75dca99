"""How a version is stored, and where the bytes of its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelops_bundle.model import artifact, media
from modelops_bundle.model.artifact import Contents
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest

_AUXILIARY = (artifact.INDEX_PATH, artifact.EARLIER_PATH)


@dataclass(frozen=True, slots=True)
class Chunked:
    """What a file is made of whose chunks are known.

    :param whole: it is a blob of its own as well. :param packs: the blobs that hold its bytes, those of bases too.
    """

    chunker: str
    chunks: int
    segments: int
    packs: tuple[Digest, ...]
    whole: bool

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "chunker": self.chunker,
            "chunks": self.chunks,
            "segments": self.segments,
            "packs": [str(digest) for digest in self.packs],
            "whole": self.whole,
        }


@dataclass(frozen=True, slots=True)
class Storage:
    """How a version of ours is stored.

    :param mode: ``plain``, ``delta`` or ``image``. :param size: bytes of the tree. :param stored: bytes of all blobs that
        hold files, whoever else needs them. :param packs: how many blobs files in delta storage are put together from.
    """

    mode: str
    size: int
    stored: int
    packs: int
    files: Mapping[str, Chunked]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "mode": self.mode,
            "size": self.size,
            "stored": self.stored,
            "packs": self.packs,
            "files": {path: chunked.to_json() for path, chunked in self.files.items()},
        }


def mode_of(manifest: Manifest) -> str | None:
    """How a version is stored, None for those of other tools."""
    return manifest.annotations.get(media.STORAGE, "plain") if artifact.is_ours(manifest) else None


def storage_of(contents: Contents, manifest: Manifest) -> Storage | None:
    """How a version is stored; None when another tool made it."""
    mode = mode_of(manifest)
    if mode is None:
        return None
    files: dict[str, Chunked] = {}
    packs: set[Digest] = set()
    for path, place in contents.places.items():
        recipe = place.recipe
        if recipe is None:
            continue
        named = tuple(recipe.packs[number].blob.digest for number in sorted(recipe.named()))
        whole = place.blob is not None
        files[path] = Chunked(recipe.chunker, recipe.count, len(recipe.segments), named, whole)
        if not whole:
            packs.update(named)
    blobs = {blob.digest: blob.size for place in contents.places.values() for blob in place.blobs}
    blobs |= {pack.blob.digest: pack.blob.size for pack in contents.chunks.packs}
    return Storage(mode, contents.snapshot.size, sum(blobs.values()), len(packs), dict(sorted(files.items())))


def stored_size(manifest: Manifest) -> int:
    """Bytes of the blobs that one of our manifests names, each once, indexes left out; pointers, a few bytes each, are in."""
    return sum({layer.digest: layer.size for layer in content_layers(manifest)}.values())


def content_layers(manifest: Manifest) -> list[Descriptor]:
    """The layers that are no indexes."""
    return [layer for layer in manifest.layers if not path_of(layer).startswith(_AUXILIARY)]


def path_of(layer: Descriptor) -> str:
    """The path that a layer is for, empty where it says none."""
    return layer.annotations.get(media.FILEPATH, "")
