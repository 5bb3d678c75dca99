"""The `image` layout (DESIGN §4): the tree as a container image that nobody runs, for image volumes (facts: format §4.3).

An image config with the digests of the layers' tars, and layers that are packs: whoever mounts or unpacks images finds the tree.
The index is a layer as well, below `.bundle/`, so that we read it back as what it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from modelops_bundle.errors import Corrupt, UsageError
from modelops_bundle.model import artifact, canonical, media, packs, paths
from modelops_bundle.model.artifact import Artifact
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.packs import Member, Pack
from modelops_bundle.model.snapshot import Snapshot

LAYER = f"{media.OCI_LAYER}+gzip"
PLATFORM = "linux/amd64"
"""What an image is said to be for when nobody says: what most clusters run, and files are the same everywhere."""
MOST_LAYERS = 100
"""Below what overlay file systems stack (127 on Linux)."""
ALONE = 8 << 20
"""Bytes from which a file has a layer of its own."""
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?")


@dataclass(frozen=True, slots=True)
class Image:
    """For which platform, `OS/ARCHITECTURE[/VARIANT]`, and below which directory the tree is (empty: the root).

    :raises UsageError: no platform. :raises UnsafePath: a directory that must not be created.
    """

    platform: str = PLATFORM
    prefix: str = ""

    def __post_init__(self) -> None:
        if not _PLATFORM.fullmatch(self.platform):
            raise UsageError(f"not a platform: {self.platform[:100]!r}", hint="--platform linux/amd64")
        if self.prefix:
            paths.validate(self.prefix)

    def to_json(self) -> dict[str, str]:
        """A JSON object that `from_json` reads back."""
        return {"platform": self.platform, "prefix": self.prefix}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` made."""
        return cls(str(value["platform"]), str(value["prefix"]))

    def inside(self, path: str) -> str:
        """Where the file `path` of the tree is in the image."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def outside(self, path: str) -> str:
        """The path in the tree of what is at `path` in the image."""
        return path.removeprefix(f"{self.prefix}/") if self.prefix else path


def cut(snapshot: Snapshot, image: Image) -> tuple[tuple[Member, ...], ...]:
    """The members of each layer: every path of the tree is in one."""
    members = [(image.inside(path), entry) for path, entry in snapshot.items()]
    # One is for the index.
    return packs.cut_all(members, ALONE, MOST_LAYERS - 1)


def build(snapshot: Snapshot, annotations: Mapping[str, str] | None, packed: Sequence[Pack], image: Image) -> Artifact:
    """The image of `snapshot`: a pure function of its arguments.

    :param annotations: the user's own manifest annotations. :param packed: the packs of `cut`, with their tars' digests.
    :raises UsageError: an annotation of ours among them. :raises Unsupported: the manifest would pass 4 MiB.
    """
    index, tar = artifact.packed_index(artifact.index_bytes(snapshot, packed, image.outside))
    layers = _layers(index, tar, packed)
    config = _config(image, [tar for _, tar in layers])
    return Artifact(_manifest(layers, config, annotations, index, snapshot), config, index, snapshot)


def rebuilt(index: bytes, packed: Sequence[Pack], config: bytes) -> Manifest:
    """The manifest of an image of which only the blobs are left, without annotations of the user's.

    :param index: the layer with the index. :param packed: the other layers. :param config: the image config.
    :raises Corrupt: they do not fit each other.
    """
    plain = artifact.unpacked_index(index)
    layers = _layers(index, artifact.packed_index(plain)[1], packed)
    said = canonical.loads(config, "the image config", limit=media.MAX_MANIFEST).get("rootfs")
    if not isinstance(said, dict) or said.get("diff_ids") != [str(tar) for _, tar in layers]:
        raise Corrupt("the layers are not those that the image config names")
    return _manifest(layers, config, None, index, artifact.snapshot_of(plain))


def _layers(index: bytes, tar: Digest, packed: Sequence[Pack]) -> list[tuple[Descriptor, Digest]]:
    """Every layer with the digest of its tar, that of the index among them."""
    layer = Descriptor.of(LAYER, index, _annotations(".bundle", artifact.INDEX_PATH))
    if len(index) < artifact.INLINE_LIMIT:
        layer = Descriptor.of(LAYER, index, layer.annotations, inline=True)
    layers = [(layer, tar), *(_layer(number, pack) for number, pack in enumerate(artifact.ordered(packed)))]
    layers.sort(key=lambda each: each[0].annotations[media.FILEPATH].encode())
    return layers


def _manifest(
    layers: Sequence[tuple[Descriptor, Digest]],
    config: bytes,
    annotations: Mapping[str, str] | None,
    index: bytes,
    snapshot: Snapshot,
) -> Manifest:
    manifest = Manifest(
        Descriptor.of(media.IMAGE_CONFIG, config),
        tuple(layer for layer, _ in layers),
        artifact.annotated(annotations, "image", Digest.of(index), snapshot),
    )
    return artifact.settled(manifest)


def _layer(number: int, pack: Pack) -> tuple[Descriptor, Digest]:
    if pack.tar is None:
        raise ValueError("the digest of a layer's tar is not known")
    path = f"{artifact.PACKS_PATH}{pack.digest.hex}.tar.gz"
    return Descriptor(LAYER, pack.digest, pack.size, _annotations(packs.title(number), path)), pack.tar


def _annotations(title: str, path: str) -> dict[str, str]:
    return {media.TITLE: title, media.FILEPATH: path, media.UNPACK: "true"}


def _config(image: Image, tars: Sequence[Digest]) -> bytes:
    """The image config (OCI image-spec `config.md`), without a time: it is a function of the tree."""
    system, architecture, *variant = image.platform.split("/")
    value: dict[str, Any] = {
        "architecture": architecture,
        "os": system,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [str(tar) for tar in tars]},
    }
    return canonical.dumps({**value, "variant": variant[0]} if variant else value)
