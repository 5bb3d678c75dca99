"""Which signatures count: everything that an attacker with write access to the repository may put there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from modelops_bundle.errors import BundleError, Unavailable, Untrusted
from modelops_bundle.events import Run
from modelops_bundle.model import signatures
from modelops_bundle.model.digest import Digest
from modelops_bundle.operations import trust
from modelops_bundle.operations.session import Session
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle
from tests.support.clones import pair_on
from tests.support.oci import INDEX, MANIFEST, Repository, dumps
from tests.support.signing import Signer, attached, bundle_of, changed, text

STATEMENT = signatures.statement


class Scene(NamedTuple):
    """A version on a registry, an older one, its rightful signer, and somebody else."""

    bundle: Bundle
    there: Repository
    digest: str
    older: str
    signer: Signer
    mallory: Signer

    def report(self, *keys: Path) -> trust.Report:
        """What `verify --signature` finds."""
        with Session.find(self.bundle.root, Run()) as session:
            return trust.verify_signatures(
                session, ":latest", [trust.key_of(key) for key in keys or [self.signer.public]]
            )

    def refused(self) -> trust.Report:
        """A report that must not be content."""
        found = self.report()
        assert found.valid == ()
        with pytest.raises(Untrusted):
            found.check()
        return found


@pytest.fixture
def scene(fake: Fake, tmp_path: Path) -> Scene:
    pair = pair_on(f"{fake.host}/m", tmp_path)
    older = str(pair.a.json("inspect")["digest"])
    digest = pair.a.commit({"new.txt": "new\n"})
    signers = (Signer(tmp_path / "keys"), Signer(tmp_path / "keys", "mallory"))
    return Scene(pair.a, Repository(pair.remote), digest, older, *signers)


def test_a_good_signature(scene: Scene) -> None:
    made = attached(scene.there, scene.digest, scene.signer.signature_of(scene.digest))
    report = scene.report()
    report.check()
    assert [(str(one.digest), one.form, one.signer) for one in report.valid] == [
        (made, "bundle", str(scene.signer.public))
    ]
    assert report.to_json()["digest"] == scene.digest


def test_any_of_several_keys(scene: Scene) -> None:
    attached(scene.there, scene.digest, scene.signer.signature_of(scene.digest))
    scene.report(scene.mallory.public, scene.signer.public).check()
    with pytest.raises(Untrusted, match="no signature"):
        scene.report(scene.mallory.public).check()


def test_no_signature_at_all(scene: Scene) -> None:
    report = scene.refused()
    assert report.verdicts == ()
    with pytest.raises(Untrusted, match=r"is not signed; wanted: .*cosign\.pub") as refused:
        report.check()
    assert refused.value.exit_code == 9


def simple(there: Repository, digest: str, payload: bytes, signature: str, tag_of: str | None = None) -> str:
    """An image of the older form with one signature."""
    layer = {
        "mediaType": signatures.SIMPLE,
        "digest": there.put_blob(payload),
        "size": len(payload),
        "annotations": {signatures.SIMPLE_SIGNATURE: signature},
    }
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": there.put_blob(b"{}"), "size": 2}
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    return there.put_manifest(signatures.legacy_tag(Digest.parse(tag_of or digest)), dumps(value))


def test_a_good_signature_of_the_older_form(scene: Scene) -> None:
    payload = signatures.simple_payload(Digest.parse(scene.digest), "h/m")
    simple(scene.there, scene.digest, payload, text(scene.signer.loaded.sign(payload)))
    assert [one.form for one in scene.report().valid] == ["simple"]


Forge = Callable[[Scene], object]


def _bundle(make: Callable[[Scene], bytes], **words: Any) -> Forge:
    return lambda scene: attached(scene.there, scene.digest, make(scene), **words)


def _good(scene: Scene) -> bytes:
    return scene.signer.signature_of(scene.digest)


def _stated(scene: Scene, **changes: Any) -> bytes:
    value = json.loads(STATEMENT(Digest.parse(scene.digest), signatures.SIGNED, {}))
    return dumps({**value, **changes})


FORGED: dict[str, Forge] = {
    "by another key": _bundle(lambda s: s.mallory.signature_of(s.digest)),
    "by another key under the hint of the right one": _bundle(
        lambda s: dumps({**json.loads(s.mallory.signature_of(s.digest)), **bundle_of_hint(s)})
    ),
    "of another version": _bundle(lambda s: s.signer.signature_of(s.older)),
    "of another version, the payload exchanged": _bundle(
        lambda s: s.signer.bundle(_stated(s), signed=STATEMENT(Digest.parse(s.older), signatures.SIGNED, {}))
    ),
    "one bit of the payload": _bundle(
        lambda s: changed(_good(s), lambda e: e.update(payload=text(_stated(s, predicate={"a": 1}))))
    ),
    "one bit of the signature": _bundle(lambda s: changed(_good(s), _flip)),
    "another type of payload": _bundle(lambda s: changed(_good(s), lambda e: e.update(payloadType="text/plain"))),
    "a payload that is signed and no statement": _bundle(lambda s: s.signer.bundle(b"hello", kind="text/plain")),
    "signed without the envelope's encoding": _bundle(
        lambda s: changed(_good(s), lambda e: e["signatures"][0].update(sig=text(s.signer.loaded.sign(_stated(s)))))
    ),
    "an attestation": _bundle(
        lambda s: s.signer.bundle(STATEMENT(Digest.parse(s.digest), "https://slsa.dev/provenance/v1", {}))
    ),
    "an attestation that is annotated as a signature": _bundle(
        lambda s: s.signer.bundle(STATEMENT(Digest.parse(s.digest), "https://slsa.dev/provenance/v1", {})),
        annotations={signatures.PREDICATE: signatures.SIGNED},
    ),
    "no subject": _bundle(lambda s: s.signer.bundle(_stated(s, subject=[]))),
    "a subject by name": _bundle(lambda s: s.signer.bundle(_stated(s, subject=[{"name": s.digest}]))),
    "a subject of another algorithm": _bundle(
        lambda s: s.signer.bundle(_stated(s, subject=[{"digest": {"sha512": s.digest.partition(":")[2]}}]))
    ),
    "no signatures": _bundle(lambda s: changed(_good(s), lambda e: e.update(signatures=[]))),
    "an empty signature": _bundle(lambda s: changed(_good(s), lambda e: e["signatures"][0].update(sig=""))),
    "a thousand signatures": _bundle(
        lambda s: changed(_good(s), lambda e: e.update(signatures=e["signatures"] * 1000))
    ),
    "nothing": _bundle(lambda s: b""),
    "an empty object": _bundle(lambda s: b"{}"),
    "no envelope": _bundle(lambda s: dumps(bundle_of(None))),
    "no JSON": _bundle(lambda s: b"\x00\xff" * 50),
    "deep JSON": _bundle(lambda s: b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "a key twice": _bundle(lambda s: _good(s)[:-1] + b',"mediaType":"x"}'),
    "control characters": _bundle(lambda s: b'{"dsseEnvelope":{"payloadType":"\\u001b[2J"}}'),
    "huge": _bundle(lambda s: _good(s) + b" " * signatures.MAX_BUNDLE),
    "a manifest without layers": lambda s: attached(s.there, s.digest),
    "a layer of another type": _bundle(_good, layer_type="application/json"),
    "an artifact of another type": _bundle(_good, artifact_type="application/json"),
    "the older form by another key": lambda s: simple(s.there, s.digest, *_simple(s, s.mallory, s.digest)),
    "the older form of another version": lambda s: simple(s.there, s.digest, *_simple(s, s.signer, s.older)),
    "the older form under another version's tag": lambda s: simple(
        s.there, s.digest, *_simple(s, s.signer, s.digest), tag_of=s.older
    ),
    "the older form, another payload": lambda s: simple(
        s.there,
        s.digest,
        _simple(s, s.signer, s.digest)[0],
        _simple(s, s.signer, s.older)[1],
    ),
    "the older form without a signature": lambda s: simple(s.there, s.digest, _simple(s, s.signer, s.digest)[0], ""),
    "the older form, hostile JSON": lambda s: simple(
        s.there, s.digest, b"[" * 9999, text(s.signer.loaded.sign(b"[" * 9999))
    ),
    "the older form's tag on an index": lambda s: s.there.put_manifest(
        signatures.legacy_tag(Digest.parse(s.digest)),
        dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}),
        INDEX,
    ),
}


def bundle_of_hint(scene: Scene) -> dict[str, Any]:
    return {"verificationMaterial": {"publicKey": {"hint": scene.signer.loaded.public.hint}}}


def _simple(scene: Scene, signer: Signer, digest: str) -> tuple[bytes, str]:
    payload = signatures.simple_payload(Digest.parse(digest), "h/m")
    return payload, text(signer.loaded.sign(payload))


def _flip(envelope: dict[str, Any]) -> None:
    import base64

    data = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    data[-1] ^= 1
    envelope["signatures"][0]["sig"] = text(bytes(data))


@pytest.mark.parametrize("case", FORGED)
def test_what_does_not_count(scene: Scene, case: str) -> None:
    FORGED[case](scene)
    scene.refused()


@pytest.mark.parametrize("case", FORGED)
def test_what_does_not_count_does_not_hide_what_does(scene: Scene, case: str) -> None:
    FORGED[case](scene)
    attached(scene.there, scene.digest, _good(scene))
    scene.report().check()


def test_a_false_list_of_referrers(repo: str, tmp_path: Path) -> None:
    """Under a tag anybody may list anything: a true signature of another version, and manifests that are gone."""
    pair = pair_on(repo, tmp_path)
    older = str(pair.a.json("inspect")["digest"])
    digest = pair.a.commit({"new.txt": "new\n"})
    there, signer = Repository(repo), Signer(tmp_path / "keys")
    of_older = attached(there, older, signer.signature_of(older))
    found = there.manifest(of_older)
    assert found is not None
    entries = [
        {"mediaType": MANIFEST, "digest": of_older, "size": len(found[1]), "artifactType": signatures.BUNDLE},
    ]
    listing = dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    there.put_manifest(digest.replace(":", "-"), listing, INDEX)
    with Session.find(pair.a.root, Run()) as session:
        report = trust.verify_signatures(session, ":latest", [trust.key_of(signer.public)])
    assert [one.reason for one in report.verdicts] == ["cannot be read: it refers to another version"]
    with pytest.raises(Untrusted):
        report.check()


def test_the_same_signature_many_times_counts_once_each_and_is_bounded(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "MOST", 5)
    bad = scene.mallory.signature_of(scene.digest)
    for number in range(7):
        attached(scene.there, scene.digest, bad, annotations={"n": str(number)})
    report = scene.refused()
    assert len(report.verdicts) == 6
    assert report.verdicts[-1].reason == "not looked at: there are too many"


def test_manifests_without_anything_are_bounded(scene: Scene, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "MOST", 5)
    for number in range(9):
        attached(scene.there, scene.digest, annotations={"n": str(number)})
    before = len(fake.asked("GET", "/manifests/"))
    scene.refused()
    assert len(fake.asked("GET", "/manifests/")) <= before + 6


def test_many_signatures_in_one_manifest_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "MOST", 5)
    attached(scene.there, scene.digest, *[scene.mallory.signature_of(scene.digest)] * 50)
    assert len(scene.refused().verdicts) == 6


def test_a_registry_that_gives_other_bytes_than_it_lists(scene: Scene, fake: Fake) -> None:
    made = attached(scene.there, scene.digest, _good(scene))
    with Session.find(scene.bundle.root, Run()) as session:
        reference, subject, store = trust.find(session, ":latest")
        real = store.resolve

        def lying(name: str, *, data: bool = False) -> Any:
            found = real(name, data=data)
            if name != made or found is None:
                return found
            return type(found)(found.media_type, found.digest, found.size, data=(found.data or b"") + b" ")

        store.resolve = lying  # type: ignore[method-assign]
        verdicts = list(trust.judge(session, reference, subject.digest, store, [trust.key_of(scene.signer.public)]))
    assert [one.reason for one in verdicts] == [f"cannot be read: the bytes do not match {made}"]


def test_no_answer_is_no_verdict(scene: Scene) -> None:
    """A registry that fails while it is asked: an error, never `not signed`."""
    with Session.find(scene.bundle.root, Run()) as session:
        reference, subject, store = trust.find(session, ":latest")

        def failing(*words: object) -> Any:
            raise Unavailable("no answer")

        store.referrers = failing  # type: ignore[attr-defined]
        with pytest.raises(Unavailable):
            list(trust.judge(session, reference, subject.digest, store, [trust.key_of(scene.signer.public)]))


@pytest.mark.parametrize("content", [None, b"", b"hello", b"x" * 100_000])
def test_keys_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pub"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError) as refused:
        trust.key_of(path)
    assert refused.value.exit_code == 2
    assert "key.pub" in refused.value.message


def test_a_key_behind_a_link_is_read(tmp_path: Path) -> None:
    signer = Signer(tmp_path / "keys")
    (tmp_path / "link.pub").symlink_to(signer.public)
    assert trust.key_of(tmp_path / "link.pub").key.hint == signer.loaded.public.hint


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "modelops_bundle.formats.keys", None)
    import modelops_bundle.formats

    monkeypatch.delattr(modelops_bundle.formats, "keys", raising=False)
    with pytest.raises(BundleError, match="cryptography") as refused:
        trust.library()
    assert "modelops-bundle[sign]" in str(refused.value.hint)
    assert refused.value.exit_code == 10
