"""What signatures of versions look like: cosign's two forms, which others read and write as well.

* Sigstore bundle v0.3 around a DSSE envelope with an in-toto statement, as a referrer: what cosign writes since 3.0.
* Simple signing: a JSON payload as a layer, its signature in an annotation, under the tag `sha256-<hex>.sig`
  (containers/image, docs/containers-signature.5.md; cosign, specs/SIGNATURE_SPEC.md).

Both name the version by its digest and nothing else that is verified: where it lies is not part of what is signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import canonical
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.dsse import Envelope, unbase64

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_PREFIX = "application/vnd.dev.sigstore.bundle"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIMPLE_SIGNATURE = "dev.cosignproject.cosign/signature"
SIMPLE_TYPE = "cosign container image signature"
CONTENT = "dev.sigstore.bundle.content"
PREDICATE = "dev.sigstore.bundle.predicateType"
INTOTO = "application/vnd.in-toto+json"
STATEMENTS = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
SIGNED = "https://sigstore.dev/cosign/sign/v1"
"""The predicate that says nothing but: this is the version that was signed. An attestation is no signature."""

MAX_BUNDLE = 1 << 20
"""Bytes. One with a certificate and a log entry has about ten thousand."""

Form = Literal["bundle", "simple"]


@dataclass(frozen=True, slots=True)
class Signed:
    """Something with signatures over `message`. What `payload` says counts once one of them is verified."""

    form: Form
    message: bytes
    payload: bytes
    signatures: tuple[bytes, ...]
    payload_type: str = ""

    def covers(self, digest: Digest) -> bool:
        """Whether it is the version `digest` that is signed here. :raises Corrupt: no signature of versions at all."""
        if self.form == "simple":
            return _simple_digest(self.payload) == str(digest)
        return self.payload_type == INTOTO and _names(self.payload, digest)


def legacy_tag(subject: Digest) -> str:
    """The tag under which cosign before 3.0 keeps the signatures of a version."""
    return f"{subject.algorithm}-{subject.hex}.sig"


# --- bundles


def statement(digest: Digest, predicate_type: str, predicate: Mapping[str, Any], name: str | None = None) -> bytes:
    """An in-toto statement (in-toto/attestation, spec/v1) about the version `digest`."""
    subject: dict[str, Any] = {"digest": {digest.algorithm: digest.hex}}
    if name is not None:
        subject["name"] = name
    value = {"_type": STATEMENTS[0], "subject": [subject], "predicateType": predicate_type, "predicate": predicate}
    return canonical.dumps(value)


def write_bundle(envelope: Envelope, hint: str) -> bytes:
    """The bundle of an envelope signed with the key that `hint` names."""
    material = {"publicKey": {"hint": hint}}
    value = {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope.to_json()}
    return canonical.dumps(value)


def read_bundle(data: bytes) -> Signed:
    """What is signed in a bundle. :raises Corrupt: not a bundle, or one without an envelope."""
    value = canonical.loads(data, "a signature", limit=MAX_BUNDLE)
    envelope = Envelope.from_json(value.get("dsseEnvelope"))
    return Signed("bundle", envelope.message, envelope.payload, envelope.signatures, envelope.payload_type)


def _names(payload: bytes, digest: Digest) -> bool:
    value = canonical.loads(payload, "what is signed", limit=MAX_BUNDLE)
    subjects = value.get("subject")
    if value.get("_type") not in STATEMENTS or value.get("predicateType") != SIGNED or not isinstance(subjects, list):
        raise Corrupt("a signed statement, but not the signature of a version")
    return any(
        isinstance(subject, dict)
        and isinstance(subject.get("digest"), dict)
        and subject["digest"].get(digest.algorithm) == digest.hex
        for subject in subjects
    )


# --- simple signing


def simple_payload(digest: Digest, place: str) -> bytes:
    """What is signed in the older form. :param place: `HOST/REPOSITORY`; nobody verifies it."""
    critical = {
        "identity": {"docker-reference": place},
        "image": {"docker-manifest-digest": str(digest)},
        "type": SIMPLE_TYPE,
    }
    return canonical.dumps({"critical": critical, "optional": None})


def simple_layers(layers: Sequence[Descriptor]) -> list[tuple[Descriptor, bytes]]:
    """Those layers of a manifest of the older form that can be signatures, each with the signature over its content."""
    found = []
    for layer in layers:
        try:
            if layer.media_type == SIMPLE and layer.size <= MAX_BUNDLE:
                found.append((layer, unbase64(layer.annotations.get(SIMPLE_SIGNATURE))))
        except Corrupt:
            continue
    return found


def read_simple(payload: bytes, signature: bytes) -> Signed:
    """What is signed in the older form."""
    return Signed("simple", payload, payload, (signature,))


def _simple_digest(payload: bytes) -> object:
    critical = canonical.loads(payload, "what is signed", limit=MAX_BUNDLE).get("critical")
    if not isinstance(critical, dict) or critical.get("type") != SIMPLE_TYPE:
        raise Corrupt("something that is signed, but not the signature of a version")
    image = critical.get("image")
    return image.get("docker-manifest-digest") if isinstance(image, dict) else None
