"""Keys, and signatures made by hand: good ones, and whatever an attacker would rather have taken for one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from modelops_bundle.formats import keys
from modelops_bundle.model import signatures
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.dsse import pae
from tests.support import canary
from tests.support.oci import MANIFEST, Repository, digest_of, dumps

EMPTY = b"{}"


@dataclass
class Signer:
    """A key pair in files. The password is a secret of the test."""

    folder: Path
    name: str = "cosign"
    password: str = field(default_factory=canary.secret)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._made = ec.generate_private_key(ec.SECP256R1())
        self.loaded = keys.PrivateKey(self._made)
        self.public.write_bytes(self.loaded.public.to_pem())

    @property
    def key(self) -> Path:
        """The file of the private key, encrypted; made when it is asked for."""
        path = self.folder / f"{self.name}.key"
        if not path.exists():
            closed = serialization.BestAvailableEncryption(self.password.encode())
            pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            path.write_bytes(self._made.private_bytes(pem, form, closed))
        return path

    @property
    def public(self) -> Path:
        """The file of the public key."""
        return self.folder / f"{self.name}.pub"

    def bundle(self, payload: bytes, *, kind: str = signatures.INTOTO, signed: bytes | None = None) -> bytes:
        """A bundle around `payload`, with a signature over `signed` instead where that is given."""
        signature = self.loaded.sign(pae(kind, payload if signed is None else signed))
        envelope = {"payload": text(payload), "payloadType": kind, "signatures": [{"sig": text(signature)}]}
        return dumps(bundle_of(envelope, self.loaded.public.hint))

    def signature_of(self, digest: str) -> bytes:
        """The bundle that `bundle sign` makes."""
        return self.bundle(signatures.statement(Digest.parse(digest), signatures.SIGNED, {}))


def text(data: bytes) -> str:
    """Base64."""
    return base64.b64encode(data).decode()


def bundle_of(envelope: object, hint: str = "") -> dict[str, Any]:
    """A bundle of whatever is given as its envelope."""
    material = {"publicKey": {"hint": hint}}
    return {"mediaType": signatures.BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope}


def changed(bundle: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle with its envelope changed in place."""
    value = json.loads(bundle)
    change(value["dsseEnvelope"])
    return dumps(value)


def attached(
    there: Repository,
    subject: str,
    *layers: bytes,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str = signatures.BUNDLE,
    layer_type: str = signatures.BUNDLE,
    really: str | None = None,
) -> str:
    """Store a manifest that refers to `subject` and has these layers; its digest.

    :param really: what the manifest says it refers to, where a list says otherwise.
    """
    about = there.manifest(subject)
    assert about is not None
    named = really or subject
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": there.put_blob(EMPTY), "size": 2},
        "layers": [{"mediaType": layer_type, "digest": there.put_blob(layer), "size": len(layer)} for layer in layers],
        "subject": {"mediaType": MANIFEST, "digest": named, "size": len(about[1])},
    }
    if annotations is not None:
        value["annotations"] = dict(annotations)
    data = dumps(value)
    return there.put_manifest(digest_of(data), data)
