"""Signatures by identity: the wiring. What only the public instance can show is not shown here (docs/guides/trust.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import BundleError, ConfigError, Unavailable, Untrusted
from modelops_bundle.events import Run
from modelops_bundle.model import signatures
from modelops_bundle.model.digest import Digest
from modelops_bundle.operations import keyless as operation
from modelops_bundle.operations import trust
from modelops_bundle.operations.keyless import Keyless, keyless
from modelops_bundle.operations.session import Session
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.clones import pair_on
from tests.support.oci import Repository
from tests.support.signing import Signer, attached

ANN, ISSUER = "ann@example.com", "https://login.example.com"
DIGEST = Digest.of(b"version")


@pytest.fixture
def offline() -> Keyless:
    """With the roots of trust that the library brings."""
    return keyless(ANN, ISSUER, offline=True)


def test_a_signature_by_a_key_is_by_nobody(offline: Keyless, fake: Fake, tmp_path: Path) -> None:
    pair = pair_on(f"{fake.host}/m", tmp_path)
    digest = str(pair.a.json("inspect")["digest"])
    attached(Repository(pair.remote), digest, Signer(tmp_path / "keys").signature_of(digest))
    with Session.find(pair.a.root, Run()) as session:
        report = trust.verify_signatures(session, ":latest", [offline])
    assert len(report.verdicts) == 1
    with pytest.raises(Untrusted, match=ANN):
        report.check()


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"mediaType":"x"}', b'{"verificationMaterial":{}}'])
def test_hostile_bundles_are_by_nobody(offline: Keyless, raw: bytes) -> None:
    signed = signatures.Signed("bundle", b"m", b"p", (b"s",), signatures.INTOTO)
    assert not offline.verifies(signed, raw)


class _Verifier:
    """As the library answers for a bundle that is good."""

    def __init__(self, payload: bytes, kind: str = signatures.INTOTO) -> None:
        self.answer = (kind, payload)
        self.asked: list[Any] = []

    def verify_dsse(self, bundle: object, policy: object) -> tuple[str, bytes]:
        self.asked.append(policy)
        return self.answer


def test_only_the_payload_that_the_library_verified_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parsers may read two payloads from one document."""
    from sigstore.models import Bundle

    monkeypatch.setattr(Bundle, "from_json", classmethod(lambda cls, raw: raw))
    good = signatures.statement(DIGEST, signatures.SIGNED, {})
    signed = signatures.Signed("bundle", b"m", good, (b"s",), signatures.INTOTO)
    verifier = _Verifier(good)
    assert Keyless(ANN, ISSUER, verifier).verifies(signed, b"raw")
    assert (verifier.asked[0]._identity, verifier.asked[0]._issuer._value) == (ANN, ISSUER)
    assert not Keyless(ANN, ISSUER, _Verifier(good + b" ")).verifies(signed, b"raw")
    assert not Keyless(ANN, ISSUER, _Verifier(good, "text/plain")).verifies(signed, b"raw")
    assert not Keyless(ANN, ISSUER, verifier).verifies(signatures.read_simple(good, b"s"), b"raw")


def test_roots_of_trust_of_another_instance(tmp_path: Path) -> None:
    import sigstore

    [brought] = (Path(sigstore.__file__).parent / "_store").glob("*sigstore.dev/trusted_root.json")
    assert keyless(ANN, ISSUER, trusted_root=brought).name == f"{ANN} (at {ISSUER})"
    for content in (None, "", "{}", "[]"):
        path = tmp_path / "root.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError):
            keyless(ANN, ISSUER, trusted_root=path)


def test_roots_of_trust_that_cannot_be_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    from sigstore.errors import TUFError
    from sigstore.verify import Verifier

    def fails(**_: object) -> None:
        raise TUFError("no network")

    monkeypatch.setattr(Verifier, "production", fails)
    with pytest.raises(Unavailable, match="roots of trust"):
        keyless(ANN, ISSUER)


@pytest.mark.parametrize(("identity", "issuer"), [("", ISSUER), (ANN, "")])
def test_half_an_identity(identity: str, issuer: str) -> None:
    with pytest.raises(BundleError, match="belong together"):
        keyless(identity, issuer)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "sigstore" or name.startswith("sigstore.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "sigstore", None)
    with pytest.raises(BundleError, match="sigstore") as refused:
        operation.keyless(ANN, ISSUER, offline=True)
    assert refused.value.exit_code == 10
    assert "modelops-bundle[keyless]" in str(refused.value.hint)
