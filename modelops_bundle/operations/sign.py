"""sign: a signature of a version by a key, stored as cosign stores and verifies it (decision 0016)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelops_bundle.disk import files
from modelops_bundle.errors import TagMoved, WouldOverwrite
from modelops_bundle.model import signatures
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.dsse import Envelope, pae
from modelops_bundle.model.paths import display
from modelops_bundle.model.reference import Reference
from modelops_bundle.operations import attach, legacy_signatures, provenance, remote_state, trust
from modelops_bundle.operations.referrers import able, find
from modelops_bundle.operations.session import Session

if TYPE_CHECKING:
    from modelops_bundle.formats.keys import PrivateKey

TITLE = "signature.sigstore.json"


@dataclass(frozen=True, slots=True)
class Result:
    """What was signed. :param digest: of the manifest with the signature; `changed` is False when it was there."""

    subject: str
    digest: Digest
    key: str
    form: signatures.Form
    changed: bool

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "subject": self.subject,
            "digest": str(self.digest),
            "key": self.key,
            "form": self.form,
            "changed": self.changed,
        }


def load_key(path: Path, password: Callable[[], bytes]) -> PrivateKey:
    """The private key in a file.

    :param password: asked when it is encrypted.
    :raises ConfigError: no such file, not a private key, or another password.
    :raises Unsupported: a key of another kind, or the extra `sign` is missing.
    """
    found: PrivateKey = trust.library().load_private(trust.read_key(path), display(str(path)), password)
    return found


def generate_key(prefix: Path, password: bytes) -> tuple[Path, Path]:
    """A new key pair in `PREFIX.key`, which only its owner may read, and `PREFIX.pub`.

    :raises WouldOverwrite: one of them is there.
    """
    private, public = (prefix.with_name(f"{prefix.name}.{kind}") for kind in ("key", "pub"))
    taken = next((path for path in (private, public) if path.is_symlink() or path.exists()), None)
    if taken is None:
        pair = trust.library().generate(password)
        if not files.write_new(private, pair.private, mode=0o600):
            taken = private
        elif not files.write_new(public, pair.public, mode=0o644):
            files.remove_file(private)
            taken = public
    if taken is not None:
        raise WouldOverwrite(
            f"{display(str(taken))} is there already", hint="name another prefix; keys are not replaced"
        )
    return private, public


def sign(session: Session, text: str, key: PrivateKey, *, legacy: bool = False) -> Result:
    """Sign the version `text`, whose digest is looked up once. One that this key signed already is left as it is.

    :param legacy: in the form that cosign before 3.0 reads.
    :raises NotFound: no such version. :raises TagMoved: the tag stands for a version this clone has not seen.
    :raises Unsupported: the store knows nothing of referrers.
    """
    found = find(session, text)
    reference, subject, store = found
    able(store, reference)
    check_seen(session, reference, subject)
    form: signatures.Form = "simple" if legacy else "bundle"
    place = f"{reference.at()}@{subject.digest}"
    signer = trust.Key(key.public.fingerprint, key.public)
    for verdict in trust.judge(session, reference, subject.digest, store, [signer]):
        if verdict.reason is None and verdict.form == form:
            return Result(place, verdict.digest, signer.name, form, changed=False)
    if legacy:
        digest = legacy_signatures.add(session, reference, subject.digest, store, key.sign)
        return Result(place, digest, signer.name, form, changed=True)
    statement = signatures.statement(subject.digest, signatures.SIGNED, {})
    document = attach.Document(signatures.BUNDLE, enveloped(statement, key), TITLE)
    done = attach.refer(session, found, document, signatures.BUNDLE, described(signatures.SIGNED))
    return Result(place, done.digest, signer.name, form, done.changed)


def attach_provenance(session: Session, text: str, key: PrivateKey | None, epoch: int | None = None) -> attach.Result:
    """Attach where the version `text` comes from: as it is, or signed as cosign attests it.

    :raises NotFound: no such version. :raises UsageError: the tree is at another one.
    """
    found = find(session, text)
    statement = provenance.statement(session, found[1].digest, epoch)
    if key is None:
        document = attach.Document(signatures.INTOTO, statement, provenance.TITLE)
        return attach.refer(session, found, document, signatures.INTOTO)
    document = attach.Document(signatures.BUNDLE, enveloped(statement, key), provenance.TITLE)
    return attach.refer(session, found, document, signatures.BUNDLE, described(provenance.PREDICATE))


def enveloped(statement: bytes, key: PrivateKey) -> bytes:
    """The bundle with `statement`, signed."""
    signature = key.sign(pae(signatures.INTOTO, statement))
    return signatures.write_bundle(Envelope(signatures.INTOTO, statement, (signature,)), key.public.hint)


def described(predicate_type: str) -> dict[str, str]:
    """The annotations by which cosign tells signatures from attestations."""
    return {signatures.CONTENT: "dsse-envelope", signatures.PREDICATE: predicate_type}


def check_seen(session: Session, reference: Reference, subject: Descriptor) -> None:
    """:raises TagMoved: by its tag, something would be signed that came after what this clone last saw there."""
    if not session.has_project or reference.digest is not None:
        return
    seen = session.seen.get(remote_state.key(reference))
    if seen is not None and seen.digest != subject.digest:
        raise TagMoved(
            f"{reference} is not what this clone last saw: it stands for {subject.digest} now",
            hint=f"bundle pull, and look at it; bundle sign {reference.at(None, seen.digest)} signs what was seen",
            seen=str(seen.digest),
            found=str(subject.digest),
        )
