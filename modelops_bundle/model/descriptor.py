"""Descriptors, OCI image-spec `descriptor.md`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.digest import Digest

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Media type, digest and size in bytes of some content; `data` holds the content itself when it is inline."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    data: bytes | None = None
    artifact_type: str | None = None

    @classmethod
    def of(
        cls, media_type: str, content: bytes, annotations: Mapping[str, str] = _NOTHING, *, inline: bool = False
    ) -> Self:
        """Describe `content`, carrying it along when `inline`."""
        return cls(media_type, Digest.of(content), len(content), annotations, content if inline else None)

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the specification."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.data is not None:
            value["data"] = base64.b64encode(self.data).decode("ascii")
        if self.artifact_type is not None:
            value["artifactType"] = self.artifact_type
        return value

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read a descriptor somebody else wrote.

        :raises Corrupt: fields missing or of the wrong type, a negative size, a digest that is no sha256.
        """
        if not isinstance(value, dict):
            raise Corrupt("a descriptor is not a JSON object")
        media_type, size = value.get("mediaType"), value.get("size")
        if not isinstance(media_type, str) or type(size) is not int or size < 0:
            raise Corrupt("a descriptor lacks its mediaType or a size of zero or more")
        artifact_type = value.get("artifactType")
        return cls(
            media_type,
            Digest.parse(value.get("digest", "")),
            size,
            read_annotations(value.get("annotations")),
            _inline(value.get("data"), size),
            artifact_type if isinstance(artifact_type, str) else None,
        )


def read_annotations(value: object) -> Mapping[str, str]:
    """Check a map of strings to strings, absent meaning empty.

    :raises Corrupt: anything else.
    """
    if value is None:
        return _NOTHING
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Corrupt("annotations are not a map of strings")
    return MappingProxyType(value)


def _inline(value: object, size: int) -> bytes | None:
    if value is None:
        return None
    try:
        data = base64.b64decode(value if isinstance(value, str) else b"", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Corrupt("inline data of a descriptor is not base64") from error
    # Other tools ignore a wrong `data`; ignoring it too costs one request and trusts nothing.
    return data if len(data) == size else None
