"""Signatures under the tag of old: added to what is there, and never in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelops_bundle.errors import TagMoved, Unavailable
from modelops_bundle.events import Run
from modelops_bundle.model import signatures
from modelops_bundle.model.digest import Digest
from modelops_bundle.operations import legacy_signatures, trust
from modelops_bundle.operations.session import Session
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.clones import Pair, pair_on
from tests.support.oci import Repository
from tests.support.signing import Signer


def test_one_after_the_other_all_are_kept(pair: Pair, tmp_path: Path) -> None:
    signers = [Signer(tmp_path / "keys", name) for name in ("one", "two", "three")]
    with Session.find(pair.a.root, Run()) as session:
        reference, subject, store = trust.find(session, ":latest")
        for signer in signers:
            legacy_signatures.add(session, reference, subject.digest, store, signer.loaded.sign)
        trusted = [trust.key_of(signer.public) for signer in signers]
        found = list(trust.judge(session, reference, subject.digest, store, trusted))
    assert [(one.form, one.signer) for one in found] == [("simple", str(signer.public)) for signer in signers]


def test_two_at_the_same_moment_lose_nothing(fake: Fake, tmp_path: Path) -> None:
    pair = pair_on(f"{fake.host}/m", tmp_path)
    one, two = (Signer(tmp_path / "keys", name) for name in ("one", "two"))
    with Session.find(pair.a.root, Run()) as session:
        reference, subject, store = trust.find(session, ":latest")
        real = store.tag
        met: list[str] = []

        def tag(name: str, *rest: object) -> None:
            if not met:
                met.append(name)
                legacy_signatures.add(session, reference, subject.digest, store, two.loaded.sign)
                raise TagMoved("it is another one now")
            real(name, *rest)  # type: ignore[arg-type]

        store.tag = tag  # type: ignore[method-assign]
        legacy_signatures.add(session, reference, subject.digest, store, one.loaded.sign)
        trusted = [trust.key_of(signer.public) for signer in (one, two)]
        found = {each.signer for each in trust.judge(session, reference, subject.digest, store, trusted)}
    assert found == {str(one.public), str(two.public)}


def test_who_never_wins_says_so(fake: Fake, tmp_path: Path) -> None:
    pair = pair_on(f"{fake.host}/m", tmp_path)
    with Session.find(pair.a.root, Run()) as session:
        reference, subject, store = trust.find(session, ":latest")

        def tag(*words: object) -> None:
            raise TagMoved("again")

        store.tag = tag  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            legacy_signatures.add(session, reference, subject.digest, store, Signer(tmp_path / "keys").loaded.sign)


def test_what_is_signed_names_the_place_and_the_digest(pair: Pair, tmp_path: Path, repo: str) -> None:
    made = pair_on(repo, tmp_path / "more").a
    digest = Digest.parse(made.json("inspect")["digest"])
    with Session.find(made.root, Run()) as session:
        reference, _, store = trust.find(session, ":latest")
        legacy_signatures.add(session, reference, digest, store, Signer(tmp_path / "keys").loaded.sign)
    there = Repository(repo)
    found = there.manifest(signatures.legacy_tag(digest))
    assert found is not None
    payload = json.loads(there.blob(json.loads(found[1])["layers"][0]["digest"]))
    assert payload["critical"]["identity"]["docker-reference"] == repo
    assert payload["critical"]["image"]["docker-manifest-digest"] == str(digest)
