"""Content digests, OCI image-spec `descriptor.md`, section "Digests"."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from modelops_bundle.errors import Corrupt

_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
SHORTEST_PREFIX = 7


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """`algorithm:hex`; only sha256 is accepted, in lower case, before it reaches any URL or path."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `sha256:<64 hex>`.

        :raises Corrupt: the text is anything else.
        """
        if not isinstance(text, str) or not _PATTERN.fullmatch(text):
            raise Corrupt(f"not a sha256 digest: {str(text)[:100]!r}")
        algorithm, _, hexadecimal = text.partition(":")
        return cls(algorithm, hexadecimal)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The sha256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The digest whose 32 raw bytes are `raw`."""
        return cls("sha256", raw.hex())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def short(self) -> str:
        """The first 12 hex digits, for people."""
        return self.hex[:12]
