"""Signatures without keys: by an identity that a login proved, through the sigstore library (extra `keyless`).

The library brings the roots of trust of the public instance and renews them over the network; a file with those of
another instance takes their place.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelops_bundle.errors import ConfigError, Unavailable, Unsupported, UsageError
from modelops_bundle.model.paths import display
from modelops_bundle.model.signatures import Signed


@dataclass(frozen=True, slots=True)
class Keyless:
    """Whoever could log in as `identity` at `issuer`. :param verifier: a `sigstore.verify.Verifier`."""

    identity: str
    issuer: str
    verifier: Any = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.identity} (at {self.issuer})"

    def verifies(self, signed: Signed, raw: bytes) -> bool:
        """Whether certificate, log entry, time and signature agree, and it is this payload that the library verified."""
        from sigstore.errors import Error
        from sigstore.models import Bundle
        from sigstore.verify import policy

        if signed.form != "bundle":
            return False
        try:
            bundle = Bundle.from_json(raw)
            said = self.verifier.verify_dsse(bundle, policy.Identity(identity=self.identity, issuer=self.issuer))
        except (Error, ValueError):
            return False
        return bool(said == (signed.payload_type, signed.payload))


def keyless(identity: str, issuer: str, *, trusted_root: Path | None = None, offline: bool = False) -> Keyless:
    """Somebody to trust by name.

    :param identity: as the certificate has it: an address, or the URL of a workflow. :param issuer: URL.
    :param trusted_root: a file with roots of trust (sigstore/protobuf-specs, `TrustedRoot`) instead of the public ones.
    :param offline: use the public ones that the library brings, or renewed last.
    :raises Unsupported: the extra is not installed. :raises Unavailable: the roots of trust cannot be renewed.
    :raises ConfigError: `trusted_root` cannot be used.
    """
    if not identity or not issuer:
        raise UsageError("--identity and --issuer belong together", hint="both stand in the certificate")
    try:
        from sigstore.errors import Error
        from sigstore.models import TrustedRoot
        from sigstore.verify import Verifier
    except ImportError as error:
        raise Unsupported(
            "signatures without keys need the package sigstore, which is not installed",
            hint="pip install 'modelops-bundle[keyless]'",
        ) from error
    # It warns of being offline; that is what was asked for.
    logging.getLogger("sigstore").addHandler(logging.NullHandler())
    if trusted_root is not None:
        try:
            return Keyless(identity, issuer, Verifier(trusted_root=TrustedRoot.from_file(str(trusted_root))))
        except (Error, OSError, ValueError) as error:
            raise ConfigError(f"{display(str(trusted_root))} holds no roots of trust") from error
    try:
        return Keyless(identity, issuer, Verifier.production(offline=offline))
    except Error as error:
        raise Unavailable(
            f"the roots of trust of sigstore cannot be renewed: {type(error).__name__}",
            hint="--offline uses those that are known; --trusted-root FILE takes others",
        ) from error
