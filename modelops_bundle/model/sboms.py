"""What kind of software bill of materials a document is."""

from __future__ import annotations

from modelops_bundle.errors import UsageError
from modelops_bundle.model import canonical

SPDX = "application/spdx+json"
CYCLONEDX = "application/vnd.cyclonedx+json"
MAX_SBOM = 32 << 20
"""Bytes of a document that is looked into."""


def media_type(data: bytes, where: str) -> str:
    """The media type of an SBOM, by its content: SPDX 2 and 3, or CycloneDX, in JSON.

    :param where: names it in messages.
    :raises UsageError: neither. :raises Corrupt: not JSON.
    """
    value = canonical.loads(data, where, limit=MAX_SBOM)
    if value.get("bomFormat") == "CycloneDX" and isinstance(value.get("specVersion"), str):
        return CYCLONEDX
    context = value.get("@context")
    if str(value.get("spdxVersion")).startswith("SPDX-") or str(context).startswith("https://spdx.org/rdf/3."):
        return SPDX
    raise UsageError(
        f"{where} is neither SPDX nor CycloneDX in JSON", hint="attach it under a --type of its own: FILE:MEDIA/TYPE"
    )
