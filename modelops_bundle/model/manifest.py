"""Image manifests, OCI image-spec `manifest.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor, read_annotations
from modelops_bundle.model.digest import Digest

_IMAGE_MANIFESTS = (media.OCI_MANIFEST, media.DOCKER_MANIFEST)
_INDEXES = (media.OCI_INDEX, media.DOCKER_LIST)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Config, layers and annotations. `received` keeps the bytes it was read from: they are its identity."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str | None = None
    media_type: str = media.OCI_MANIFEST
    received: bytes | None = field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        """The received bytes verbatim, else canonical JSON."""
        if self.received is not None:
            return self.received
        value: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.artifact_type is not None:
            value["artifactType"] = self.artifact_type
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return canonical.dumps(value)

    def descriptor(self) -> Descriptor:
        """The descriptor of `to_bytes()`."""
        return Descriptor.of(self.media_type, self.to_bytes())

    @property
    def digest(self) -> Digest:
        """sha256 of `to_bytes()`."""
        return Digest.of(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, media_type: str | None = None) -> Self:
        """Read a manifest.

        :param media_type: what the server called it; the manifest's own `mediaType` must agree when both are there
            (image-spec manifest.md: otherwise one digest could be read as two different things).
        :raises Corrupt: not a manifest. :raises Unsupported: an index, or a manifest of another kind.
        """
        value = canonical.loads(data, "the manifest", limit=media.MAX_MANIFEST)
        kind = _kind(value, media_type)
        if kind in _INDEXES:
            raise Unsupported(
                "this reference names an image index (several manifests), not one artifact",
                hint="name one of its manifests by digest",
                media_type=kind,
            )
        if kind not in _IMAGE_MANIFESTS:
            raise Unsupported(f"cannot read manifests of type {kind[:100]!r}", media_type=kind[:100])
        if "manifests" in value:
            raise Corrupt("the manifest says it is an image manifest and also lists manifests")
        layers = value.get("layers")
        if value.get("schemaVersion") != 2 or not isinstance(layers, list):
            raise Corrupt("the manifest lacks schemaVersion 2 or its layers")
        artifact_type = value.get("artifactType")
        return cls(
            Descriptor.from_json(value.get("config")),
            tuple(Descriptor.from_json(layer) for layer in layers),
            read_annotations(value.get("annotations")),
            artifact_type if isinstance(artifact_type, str) else None,
            kind,
            data,
        )


def _kind(value: Mapping[str, Any], media_type: str | None) -> str:
    said = value.get("mediaType")
    if said is not None and not isinstance(said, str):
        raise Corrupt("the manifest's mediaType is not a string")
    served = media_type.partition(";")[0].strip() if media_type else None
    if served in (*_IMAGE_MANIFESTS, *_INDEXES) and said is not None and said != served:
        raise Corrupt(f"the manifest says it is {said[:100]!r}, the server says {served!r}")
    if said is None and served not in (*_IMAGE_MANIFESTS, *_INDEXES):
        return media.OCI_INDEX if "manifests" in value else media.OCI_MANIFEST
    return said or served or media.OCI_MANIFEST
