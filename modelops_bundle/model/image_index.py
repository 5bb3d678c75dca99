"""Image indexes (OCI image-spec `image-index.md`): several manifests under one digest, and which of them are meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor

MOST = 256
"""Manifests of one index that are read."""
_INDEXES = (media.OCI_INDEX, media.DOCKER_LIST)
_ATTESTATION = "vnd.docker.reference.type"


@dataclass(frozen=True, slots=True)
class Child:
    """A manifest that an index names, and the platform it is for: `OS/ARCHITECTURE[/VARIANT]`."""

    what: Descriptor
    platform: str | None


def is_one(data: bytes, media_type: str | None) -> bool:
    """Whether these are the bytes of an index; whatever cannot be read is none.

    :param media_type: what the server called them.
    """
    served = media_type.partition(";")[0].strip() if media_type else ""
    if served in (*_INDEXES, media.OCI_MANIFEST, media.DOCKER_MANIFEST):
        return served in _INDEXES
    if b'"manifests"' not in data:
        return False
    with suppress(Corrupt):
        value = canonical.loads(data, "a manifest", limit=media.MAX_MANIFEST)
        return "manifests" in value and "layers" not in value
    return False


def children(data: bytes) -> tuple[Child, ...]:
    """The manifests that an index names, without attestations, which say something of the others.

    :raises Corrupt: no index. :raises Unsupported: indexes within it, or too many manifests.
    """
    value = canonical.loads(data, "the image index", limit=media.MAX_MANIFEST)
    listed = value.get("manifests")
    if value.get("schemaVersion") != 2 or not isinstance(listed, list) or "layers" in value or "config" in value:
        raise Corrupt("the image index lacks schemaVersion 2 or its manifests, or is a manifest as well")
    if value.get("mediaType") not in (None, *_INDEXES):
        raise Corrupt("the image index says that it is something else")
    if len(listed) > MOST:
        raise Unsupported(f"the image index names {len(listed)} manifests; up to {MOST} are read")
    found = [_child(item) for item in listed]
    if any(child.what.media_type in _INDEXES for child in found):
        raise Unsupported("the image index names further indexes", hint="name one of them by digest")
    return tuple(child for child in found if _ATTESTATION not in child.what.annotations)


def _child(item: Any) -> Child:
    what = Descriptor.from_json(item)
    said = item.get("platform")
    if said is None:
        return Child(what, None)
    parts = [said.get(key) for key in ("os", "architecture", "variant")] if isinstance(said, dict) else [None]
    if not all(isinstance(part, str) for part in parts[:2]) or not isinstance(parts[-1] or "", str):
        raise Corrupt("a platform of the image index cannot be read")
    return Child(what, "/".join(part for part in parts if part))


def chosen(found: Sequence[Child], platform: str) -> tuple[Child, ...]:
    """The manifests that make up one version: those for `platform`, or all where none is for any (shards of one tree).

    :raises Unsupported: there is none for the platform, or some have one and others do not.
    """
    if not found:
        raise Unsupported("the image index names no manifest")
    known = sorted({child.platform for child in found if child.platform is not None})
    if not known:
        return tuple(found)
    if any(child.platform is None for child in found):
        raise Unsupported(
            "some manifests of the image index are for a platform and some are not",
            hint="name one of its manifests by digest",
        )
    fitting = tuple(child for child in found if _fits(child.platform or "", platform))
    exact = tuple(child for child in fitting if child.platform == platform)
    if len({child.platform for child in fitting}) != 1 and not exact:
        what = "several variants" if fitting else "nothing"
        raise Unsupported(
            f"the image index has {what} for {platform}",
            hint=f"--platform takes one of {', '.join(known)}",
            platforms=known,
        )
    return exact or fitting


def _fits(offered: str, wanted: str) -> bool:
    """Whether a platform is the wanted one; a variant counts where both have one."""
    theirs, ours = offered.split("/"), wanted.split("/")
    return len(theirs) > 1 < len(ours) and all(one == other for one, other in zip(theirs, ours, strict=False))


_ARCHITECTURES: Mapping[str, str] = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "i686": "386"}


def platform_of(system: str, machine: str) -> str:
    """The platform of a machine, in the words of Go's GOOS and GOARCH, which indexes use.

    :param system: as `uname -s`. :param machine: as `uname -m`.
    """
    name = machine.lower()
    return f"{system.lower()}/{_ARCHITECTURES.get(name, name)}"
