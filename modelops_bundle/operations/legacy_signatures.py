"""Signatures in the form of cosign before 3.0: an image under the tag `sha256-<hex>.sig`, a layer for each.

cosign, specs/SIGNATURE_SPEC.md. Nobody guards that tag: two who add to it at the same moment may lose one of both, as
with cosign itself, but one who looks again finds it missing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from modelops_bundle.errors import TagMoved, Unavailable
from modelops_bundle.model import canonical, media, signatures
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.ports import ABSENT, Store
from modelops_bundle.model.reference import Reference
from modelops_bundle.operations.session import Session

_CONFIG = "application/vnd.oci.image.config.v1+json"
_ROUNDS = 5


def add(session: Session, reference: Reference, digest: Digest, store: Store, sign: Callable[[bytes], bytes]) -> Digest:
    """Add a signature of the version `digest` to those that are there; the digest of the image that holds them all.

    :raises Unavailable: others keep changing it.
    """
    payload = signatures.simple_payload(digest, reference.place)
    signature = base64.b64encode(sign(payload)).decode("ascii")
    layer = Descriptor.of(signatures.SIMPLE, payload, {signatures.SIMPLE_SIGNATURE: signature})
    tag = signatures.legacy_tag(digest)
    for _ in range(_ROUNDS):
        session.run.check()
        before = store.resolve(tag, data=True)
        held: tuple[Descriptor, ...] = ()
        if before is not None:
            held = Manifest.from_bytes(before.data or b"", before.media_type).layers
        made = _put(store, (*held, layer), payload)
        try:
            store.tag(tag, made, made.data or b"", before or ABSENT)
        except TagMoved:
            continue
        now = store.resolve(tag)
        if now is not None and now.digest == made.digest:
            return made.digest
    raise Unavailable(f"others keep changing {reference.place}:{tag}", hint="run the command again")


def _put(store: Store, layers: tuple[Descriptor, ...], payload: bytes) -> Descriptor:
    """Store the new layer and a config; the manifest, with its bytes."""
    config: dict[str, Any] = {
        "architecture": "",
        "config": {},
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
    }
    data = canonical.dumps(config)
    what = Descriptor.of(_CONFIG, data)
    for each, content in ((layers[-1], payload), (what, data)):
        if not store.has(each):
            store.put(each, [content])
    return Descriptor.of(media.OCI_MANIFEST, Manifest(what, layers).to_bytes(), inline=True)
