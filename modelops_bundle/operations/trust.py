"""Signatures of a version: finding them, and whether one of them is by somebody who is trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from modelops_bundle.disk.files import read_file
from modelops_bundle.errors import ConfigError, Corrupt, NotFound, Unsupported, Untrusted, UsageError
from modelops_bundle.model import media, referrers, signatures
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.paths import display
from modelops_bundle.model.ports import Store
from modelops_bundle.model.reference import Reference
from modelops_bundle.model.signatures import Signed
from modelops_bundle.operations.referrers import able, find
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer.verify import read_small

MOST = 100
"""Signatures that are looked at: whoever may write to a repository can add as many as they like."""
_TOO_MANY = "not looked at: there are too many"
_UNTOLD = (media.OCI_EMPTY, None)
"""Artifact types under which cosign 3.1 lists its bundles where the registry keeps no list."""


class Signer(Protocol):
    """Somebody who is trusted."""

    @property
    def name(self) -> str:
        """For people and reports."""
        ...

    def verifies(self, signed: Signed, raw: bytes) -> bool:
        """Whether one of the signatures is theirs. :param raw: the whole document that holds them."""
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """The owner of a key. :param key: a `formats.keys.PublicKey`."""

    name: str
    key: Any

    def verifies(self, signed: Signed, raw: bytes) -> bool:  # noqa: ARG002 - the port's
        return any(self.key.verifies(signature, signed.message) for signature in signed.signatures)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about one signature: who it is by, or why it does not count."""

    digest: Digest
    form: str
    signer: str | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        found = {"digest": str(self.digest), "form": self.form}
        return found | ({"signer": self.signer} if self.reason is None else {"reason": self.reason})


@dataclass(frozen=True, slots=True)
class Report:
    """The signatures of one version, and who was looked for."""

    reference: str
    digest: Digest
    trusted: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def valid(self) -> tuple[Verdict, ...]:
        """Those by somebody who is trusted."""
        return tuple(one for one in self.verdicts if one.reason is None)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "reference": self.reference,
            "digest": str(self.digest),
            "trusted": list(self.trusted),
            "signatures": [one.to_json() for one in self.valid],
            "rejected": [one.to_json() for one in self.verdicts if one.reason is not None],
        }

    def check(self, asked: str = "") -> None:
        """:param asked: who asks for it, for the message. :raises Untrusted: there is no valid one."""
        if self.valid:
            return
        who = " or ".join(self.trusted)
        what = f"{self.reference} ({self.digest})"
        told = f"no signature of {what} is by {who}" if self.verdicts else f"{what} is not signed; wanted: {who}"
        rejected = [{"name": str(one.digest), "form": one.form, "reason": one.reason} for one in self.verdicts]
        facts = {**self.to_json(), "setting": asked or None, "rejected": rejected}
        raise Untrusted(told + (f", which {asked} asks for" if asked else ""), **facts)


def library() -> ModuleType:
    """The module that knows keys. :raises Unsupported: its extra is not installed."""
    try:
        from modelops_bundle.formats import keys
    except ImportError as error:
        raise Unsupported(
            "signatures need the package cryptography, which is not installed",
            hint="pip install 'modelops-bundle[sign]'",
        ) from error
    return keys


def read_key(path: Path) -> bytes:
    """The file of a key. :raises ConfigError: there is none, or it is too large for one."""
    # Mounted secrets of Kubernetes are links.
    data = read_file(path.resolve()) if path.is_file() else None
    if data is None:
        raise ConfigError(f"there is no key {display(str(path))}", hint="cosign generate-key-pair makes two files")
    if len(data) > library().MAX_KEY:
        raise ConfigError(f"{display(str(path))} is too large for a key")
    return data


def key_of(path: Path) -> Key:
    """The owner of the public key in a file. :raises ConfigError: it cannot be used."""
    return Key(display(str(path)), library().load_public(read_key(path), display(str(path))))


def verify_signatures(session: Session, text: str | None, trusted: Sequence[Signer]) -> Report:
    """Look for signatures of the version `text`, whose digest is looked up once.

    :raises NotFound: no such version. :raises Unsupported: the store knows nothing of referrers.
    """
    if not trusted:
        raise UsageError("whose signature?", hint="--key cosign.pub, or --identity NAME --issuer URL")
    reference, subject, store = find(session, text)
    verdicts = tuple(judge(session, reference, subject.digest, store, trusted))
    return Report(str(reference), subject.digest, tuple(each.name for each in trusted), verdicts)


def judge(
    session: Session, reference: Reference, digest: Digest, store: Store, trusted: Sequence[Signer]
) -> Iterator[Verdict]:
    """Every signature of the version `digest`, one by one: nothing is fetched before it is asked for.

    What was signed and is no signature of a version (an attestation, say) is left out, valid or not.
    """
    looked = 0
    for number, (what, form) in enumerate(_listed(reference, digest, store)):
        session.run.check()
        if number >= MOST:
            yield Verdict(what.digest, form, None, _TOO_MANY)
            return
        try:
            for signed, raw in _read(store, what, form, digest):
                looked += 1
                if looked > MOST:
                    yield Verdict(what.digest, form, None, _TOO_MANY)
                    return
                yield _verdict(what.digest, signed, raw, digest, trusted)
        except (Corrupt, NotFound, Unsupported) as error:
            yield Verdict(what.digest, form, None, f"cannot be read: {error.message}")


def _verdict(where: Digest, signed: Signed, raw: bytes, digest: Digest, trusted: Sequence[Signer]) -> Verdict:
    signer = next((each.name for each in trusted if each.verifies(signed, raw)), None)
    if signer is None:
        return Verdict(where, signed.form, None, "by somebody else, or changed since")
    try:
        covers = signed.covers(digest)
    except Corrupt as error:
        return Verdict(where, signed.form, None, error.message)
    return Verdict(where, signed.form, signer, None if covers else "of another version")


def _listed(reference: Reference, digest: Digest, store: Store) -> Iterator[tuple[Descriptor, signatures.Form]]:
    """The manifests that may hold signatures: what refers to the version, then what cosign keeps under a tag of old."""
    for what in able(store, reference).referrers(digest):
        kind = what.artifact_type
        said = what.annotations.get(signatures.PREDICATE, signatures.SIGNED)
        if (kind in _UNTOLD or str(kind).startswith(signatures.BUNDLE_PREFIX)) and said == signatures.SIGNED:
            yield what, "bundle"
    old = store.resolve(signatures.legacy_tag(digest))
    if old is not None:
        yield old, "simple"


def _read(store: Store, what: Descriptor, form: signatures.Form, digest: Digest) -> Iterator[tuple[Signed, bytes]]:
    """What a manifest holds that is signed. :raises Corrupt, NotFound, Unsupported: it cannot be read."""
    found = store.resolve(str(what.digest), data=True)
    if found is None or found.data is None:
        raise NotFound(f"{what.digest} is listed and not there")
    if Digest.of(found.data) != what.digest:
        raise Corrupt(f"the bytes do not match {what.digest}")
    manifest = Manifest.from_bytes(found.data, found.media_type)
    if form == "simple":
        for layer, signature in signatures.simple_layers(manifest.layers[: MOST + 1]):
            payload = read_small(store, layer, signatures.MAX_BUNDLE)
            yield signatures.read_simple(payload, signature), payload
        return
    if referrers.subject_of(found.data) != digest:
        raise Corrupt("it refers to another version")
    if manifest.annotations.get(signatures.PREDICATE, signatures.SIGNED) != signatures.SIGNED:
        return
    for layer in manifest.layers[: MOST + 1]:
        if layer.media_type.startswith(signatures.BUNDLE_PREFIX):
            raw = read_small(store, layer, signatures.MAX_BUNDLE)
            yield signatures.read_bundle(raw), raw
