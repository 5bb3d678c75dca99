"""What manifests hold together: the blobs they need, and those that nothing else needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from modelops_bundle.errors import BundleError
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest

Read = Callable[[Descriptor], bytes]
"""The bytes of a manifest. :raises BundleError: they cannot be had."""

DEEPEST = 16
"""Levels of indexes within indexes that are followed."""


def needs(data: bytes) -> list[Descriptor]:
    """What the manifest or index `data` names and its store must hold: config, layers, manifests; not its subject.

    :raises Corrupt: not a manifest.
    """
    value = canonical.loads(data, "a manifest", limit=media.MAX_MANIFEST)
    parts = [value.get("config"), *(value.get("layers") or ()), *(value.get("manifests") or ())]
    # Content with addresses of its own (image-spec descriptor.md, "urls") is kept elsewhere.
    return [Descriptor.from_json(part) for part in parts if isinstance(part, dict) and not part.get("urls")]


def reachable(roots: Iterable[Descriptor], read: Read) -> tuple[set[Digest], bool]:
    """The digests of `roots` and all they need, and whether every manifest among them could be read."""
    found: set[Digest] = set()
    whole = True
    level = list(roots)
    for _ in range(DEEPEST):
        below: list[Descriptor] = []
        for what in level:
            if what.digest in found:
                continue
            found.add(what.digest)
            if what.media_type in media.MANIFEST_TYPES:
                try:
                    below += needs(read(what))
                except BundleError:
                    whole = False
        level = below
    return found, whole and not level


def attached(roots: Iterable[Descriptor], read: Read) -> list[tuple[Descriptor, bytes]]:
    """Those of `manifests` that may refer to another one."""
    return [each for each in manifests(roots, read).values() if b'"subject"' in each[1]]


def manifests(roots: Iterable[Descriptor], read: Read) -> dict[Digest, tuple[Descriptor, bytes]]:
    """The manifests among `roots` and in the indexes among them, with their bytes; those that cannot be read are left
    out.
    """
    found: dict[Digest, tuple[Descriptor, bytes]] = {}
    level = list(roots)
    for _ in range(DEEPEST):
        below: list[Descriptor] = []
        for what in level:
            if what.digest in found or what.media_type not in media.MANIFEST_TYPES:
                continue
            try:
                data = read(what)
                found[what.digest] = what, data
                below += needs(data) if what.media_type in (media.OCI_INDEX, media.DOCKER_LIST) else []
            except BundleError:
                continue
        level = below
    return found
