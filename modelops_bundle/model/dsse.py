"""Dead Simple Signing Envelopes: a payload, its type, and signatures over both (secure-systems-lab/dsse, protocol.md)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from modelops_bundle.errors import Corrupt

MOST_SIGNATURES = 16
"""Signatures that one envelope may have: each costs a verification with every key."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What was signed. Nothing in it counts before one of the signatures over `message` is verified."""

    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        return pae(self.payload_type, self.payload)

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the specification."""
        return {
            "payload": base64.b64encode(self.payload).decode("ascii"),
            "payloadType": self.payload_type,
            "signatures": [{"sig": base64.b64encode(one).decode("ascii")} for one in self.signatures],
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read an envelope somebody else wrote. :raises Corrupt: fields missing or of the wrong type."""
        if not isinstance(value, Mapping) or not isinstance(value.get("payloadType"), str):
            raise Corrupt("an envelope lacks its payloadType")
        signatures = value.get("signatures")
        if not isinstance(signatures, list) or not 0 < len(signatures) <= MOST_SIGNATURES:
            raise Corrupt(f"an envelope has no signatures, or more than {MOST_SIGNATURES}")
        found = tuple(unbase64(one.get("sig") if isinstance(one, Mapping) else None) for one in signatures)
        return cls(value["payloadType"], unbase64(value.get("payload")), found)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Both in one spelling, so that neither can be taken for the other (protocol.md, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def unbase64(value: object) -> bytes:
    """The bytes that `value` stands for. :raises Corrupt: not base64 (RFC 4648 §4), or nothing."""
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError) as error:
        raise Corrupt("a signature, or what is signed, is not base64") from error
    if not data:
        raise Corrupt("a signature, or what is signed, is empty")
    return data
