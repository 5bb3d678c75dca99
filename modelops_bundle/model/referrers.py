"""Which manifests refer to another one by their `subject`, and the lists of them.

image-spec 1.1, manifest.md ("subject"); distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor, read_annotations
from modelops_bundle.model.digest import Digest

Entry = dict[str, Any]
"""An entry of a list as it was received: what we do not know in it stays in it."""


def fallback_tag(subject: Digest) -> str:
    """The tag of the list that clients keep where the registry keeps none."""
    return f"{subject.algorithm}-{subject.hex}"


def subject_of_tag(tag: str) -> Digest | None:
    """Whose list `fallback_tag` gives this tag to; None for any other tag."""
    algorithm, _, hexadecimal = tag.partition("-")
    try:
        return Digest.parse(f"{algorithm}:{hexadecimal}")
    except Corrupt:
        return None


def subject_of(data: bytes) -> Digest | None:
    """What the manifest `data` refers to, None for nothing.

    :raises Corrupt: not a JSON object.
    """
    subject = canonical.loads(data, "the manifest", limit=media.MAX_MANIFEST).get("subject")
    try:
        return Digest.parse(subject.get("digest", "")) if isinstance(subject, dict) else None
    except Corrupt:
        # Of another algorithm: nothing that we name can be meant.
        return None


def describe(what: Descriptor, data: bytes) -> Descriptor:
    """The entry of a list for the manifest `data`: `what` with its artifact type (else the config's media type) and
    annotations.

    :raises Corrupt: not a manifest.
    """
    value = canonical.loads(data, "the manifest", limit=media.MAX_MANIFEST)
    config = value.get("config")
    kind = value.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    return Descriptor(
        what.media_type,
        what.digest,
        what.size,
        read_annotations(value.get("annotations")),
        artifact_type=kind if isinstance(kind, str) else None,
    )


def read_list(data: bytes, where: str) -> tuple[dict[str, Any], list[Entry]]:
    """The index `data`, and its entries.

    :param where: names the list in messages.
    :raises Corrupt: not an image index.
    """
    value = canonical.loads(data, where, limit=media.MAX_MANIFEST)
    entries = value.get("manifests")
    if value.get("mediaType", media.OCI_INDEX) != media.OCI_INDEX or not isinstance(entries, list | None):
        raise Corrupt(f"{where} is no image index")
    return value, [entry for entry in entries or () if isinstance(entry, dict)]


def write_list(value: Mapping[str, Any], entries: Iterable[Entry]) -> bytes:
    """The index `value` with these entries; all else that it holds stays."""
    return canonical.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, **value, "manifests": list(entries)})


def listed(entries: Iterable[Entry], artifact_type: str | None = None) -> list[Descriptor]:
    """The entries as descriptors, each digest once; what nobody here could ask for is left out."""
    found: dict[Digest, Descriptor] = {}
    for entry in entries:
        try:
            what = Descriptor.from_json(entry)
        except Corrupt:
            continue
        if what.media_type in media.MANIFEST_TYPES and artifact_type in (None, what.artifact_type):
            found.setdefault(what.digest, what)
    return list(found.values())


def referring(
    held: Iterable[tuple[Descriptor, bytes]], subject: Digest, artifact_type: str | None = None
) -> list[Descriptor]:
    """The entries of those among the manifests `held` that refer to `subject`; what is no manifest is left out."""
    found = []
    for what, data in held:
        try:
            entry = describe(what, data) if subject_of(data) == subject else None
        except Corrupt:
            continue
        if entry is not None and artifact_type in (None, entry.artifact_type):
            found.append(entry)
    return found
