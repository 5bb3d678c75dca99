"""The real cosign, both ways: what we sign it verifies, what it signs we verify, and keys go to and fro."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from modelops_bundle.errors import Untrusted
from modelops_bundle.events import Run
from modelops_bundle.operations import trust
from modelops_bundle.operations.session import Session
from tests.support import canary
from tests.support.bundle import Bundle

Peer = Callable[[str], str]
OFFLINE = ("--tlog-upload=false", "--use-signing-config=false", "--yes")


class Scene(NamedTuple):
    """A version on a registry without TLS, a folder for keys, and cosign."""

    bundle: Bundle
    repo: str
    digest: str
    folder: Path
    program: str

    def cosign(self, *words: str, expect: int = 0) -> bytes:
        """Run it in the folder; what it prints on standard output."""
        done = subprocess.run([self.program, *words], cwd=self.folder, capture_output=True, timeout=120, check=False)
        assert (done.returncode == 0) == (expect == 0), (words, done.stdout, done.stderr)
        assert not canary.printed(done.stdout, done.stderr)
        return done.stdout

    def cosign_sign(self, key: str, *words: str) -> None:
        """As a user without any log or authority does."""
        self.cosign("sign", "--key", key, "--allow-http-registry", *OFFLINE, *words, f"{self.repo}@{self.digest}")

    def cosign_verify(self, key: str, *words: str, expect: int = 0) -> bytes:
        """Likewise."""
        where = f"{self.repo}@{self.digest}"
        words = ("--key", key, "--insecure-ignore-tlog", "--allow-http-registry", *words, where)
        return self.cosign("verify", *words, expect=expect)

    def sign(self, key: str, *words: str) -> None:
        """With ours."""
        self.bundle.run("sign", ":v1", "--key", str(self.folder / key), *words)

    def report(self, key: str) -> trust.Report:
        """What ours finds."""
        with Session.find(self.bundle.root, Run()) as session:
            return trust.verify_signatures(session, ":v1", [trust.key_of(self.folder / key)])


@pytest.fixture(params=[pytest.param("distribution", marks=pytest.mark.registry), "crane"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Scene:
    program = peer("cosign")
    if request.param == "distribution":
        repo = str(request.getfixturevalue("repo"))
    else:
        repo = f"{request.getfixturevalue('crane_host')}/signed/{tmp_path.name.lower().strip('_')}"
    monkeypatch.setenv("COSIGN_PASSWORD", canary.secret())
    made = Bundle.create(tmp_path / "a", repo, {"x.txt": "x\n"})
    folder = tmp_path / "keys"
    folder.mkdir()
    return Scene(made, repo, made.push("--tag", "v1"), folder, program)


@pytest.mark.parametrize("maker", ["cosign", "ours"])
def test_what_we_sign_cosign_verifies(scene: Scene, maker: str) -> None:
    make_pair(scene, maker)
    scene.cosign_verify("cosign.pub", expect=1)
    scene.sign("cosign.key")
    [found] = json.loads(scene.cosign_verify("cosign.pub"))
    assert found["critical"]["image"]["docker-manifest-digest"] == scene.digest
    scene.report("cosign.pub").check()


def make_pair(scene: Scene, maker: str, name: str = "cosign") -> None:
    if maker == "cosign":
        scene.cosign("generate-key-pair", "--output-key-prefix", name)
    else:
        scene.bundle.run("sign", "--generate-key", str(scene.folder / name))
    derived = scene.cosign("public-key", "--key", f"{name}.key")
    assert derived == (scene.folder / f"{name}.pub").read_bytes(), "one key for both"


@pytest.mark.parametrize("maker", ["cosign", "ours"])
def test_what_cosign_signs_we_verify(scene: Scene, maker: str) -> None:
    make_pair(scene, maker)
    make_pair(scene, "ours", "other")
    scene.cosign_sign("cosign.key")
    report = scene.report("cosign.pub")
    report.check()
    assert [one.form for one in report.valid] == ["bundle"]
    with pytest.raises(Untrusted):
        scene.report("other.pub").check()
    scene.cosign_verify("other.pub", expect=1)


def test_the_form_of_old(scene: Scene) -> None:
    make_pair(scene, "cosign")
    make_pair(scene, "ours", "ours")
    scene.cosign_sign("cosign.key", "--new-bundle-format=false")
    assert [one.form for one in scene.report("cosign.pub").valid] == ["simple"]
    scene.sign("ours.key", "--legacy")
    for key in ("cosign.pub", "ours.pub"):
        scene.cosign_verify(key)
        scene.cosign_verify(key, "--new-bundle-format=false")
        scene.report(key).check()
    scene.cosign_sign("ours.key", "--new-bundle-format=false")
    scene.cosign_verify("cosign.pub")
    scene.report("cosign.pub").check()


def test_each_finds_its_own_among_the_others(scene: Scene) -> None:
    make_pair(scene, "cosign", "one")
    make_pair(scene, "ours", "two")
    scene.cosign_sign("one.key")
    scene.sign("two.key")
    for key in ("one.pub", "two.pub"):
        scene.cosign_verify(key)
        scene.report(key).check()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("RSA", ["genrsa", "-traditional", "2048"]),
        ("Ed25519", ["genpkey", "-algorithm", "ed25519"]),
        ("P-384", ["ecparam", "-name", "secp384r1", "-genkey", "-noout"]),
        ("P-521", ["ecparam", "-name", "secp521r1", "-genkey", "-noout"]),
    ],
)
def test_other_kinds_of_keys(scene: Scene, peer: Peer, kind: str, words: list[str]) -> None:
    pem = scene.folder / "plain.pem"
    pem.write_bytes(subprocess.run([peer("openssl"), *words], capture_output=True, check=True).stdout)
    scene.cosign("import-key-pair", "--key", str(pem), "--output-key-prefix", "cosign")
    scene.sign("cosign.key")
    scene.cosign_verify("cosign.pub")
    scene.report("cosign.pub").check()
    assert scene.bundle.json("sign", ":v1", "--key", str(pem))["changed"] is False, "the same key without a password"


def test_another_password(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pair(scene, "cosign")
    monkeypatch.setenv("COSIGN_PASSWORD", canary.secret("another"))
    error = scene.bundle.refused(2, "sign", ":v1", "--key", str(scene.folder / "cosign.key"))
    assert "not the password" in error["message"]


def test_provenance_is_what_cosign_calls_an_attestation(scene: Scene) -> None:
    make_pair(scene, "cosign")
    make_pair(scene, "ours", "other")
    scene.bundle.run("attach", ":v1", "--provenance", "--sign-key", str(scene.folder / "cosign.key"))
    words = ("verify-attestation", "--type", "slsaprovenance1", "--insecure-ignore-tlog", "--allow-http-registry")
    where = f"{scene.repo}@{scene.digest}"
    assert scene.cosign(*words, "--key", "cosign.pub", where)
    scene.cosign(*words, "--key", "other.pub", where, expect=1)
    with pytest.raises(Untrusted):
        scene.report("cosign.pub").check()


def test_an_attestation_of_cosign_is_no_signature(scene: Scene) -> None:
    make_pair(scene, "cosign")
    (scene.folder / "predicate.json").write_text("{}")
    words = ("attest", "--key", "cosign.key", "--predicate", "predicate.json", "--type", "custom", *OFFLINE)
    scene.cosign(*words, "--allow-http-registry", f"{scene.repo}@{scene.digest}")
    assert len(scene.bundle.json("referrers", ":v1")["referrers"]) == 1
    with pytest.raises(Untrusted):
        scene.report("cosign.pub").check()


def test_a_policy_is_content_with_what_cosign_signed(scene: Scene, tmp_path: Path) -> None:
    make_pair(scene, "cosign")
    setting = f"remotes.origin.require_signature={scene.folder / 'cosign.pub'}"
    from tests.support.bundle import call

    words = ("--config", setting, "clone", f"{scene.repo}:v1", str(tmp_path / "new"))
    call(*words, expect=9)
    assert not (tmp_path / "new").exists()
    scene.cosign_sign("cosign.key")
    call(*words)
    assert (tmp_path / "new" / "x.txt").read_text() == "x\n"


def test_signatures_go_along_into_a_layout(scene: Scene, peer: Peer, tmp_path: Path) -> None:
    """cosign signs and verifies on registries only; what oras copies with them into a layout, we verify there."""
    make_pair(scene, "cosign")
    make_pair(scene, "ours", "ours")
    scene.cosign_sign("cosign.key")
    scene.sign("ours.key")
    layout = tmp_path / "layout"
    words = ["cp", "-r", "--from-plain-http", "--to-oci-layout", f"{scene.repo}:v1", f"{layout}:v1"]
    subprocess.run([peer("oras"), *words], capture_output=True, check=True)
    with Session(None, Run(), cwd=tmp_path) as session:
        for key in ("cosign.pub", "ours.pub"):
            found = trust.verify_signatures(session, f"layout:{layout}:v1", [trust.key_of(scene.folder / key)])
            found.check()
            assert str(found.digest) == scene.digest


def test_signatures_go_along_out_of_a_layout(scene: Scene, peer: Peer, tmp_path: Path) -> None:
    """The reverse: signed by us in a layout, verified by cosign where oras copied it to."""
    make_pair(scene, "cosign")
    layout = tmp_path / "layout"
    made = Bundle.create(tmp_path / "b", f"layout:{layout}", {"y.txt": "y\n"})
    digest = made.push("--tag", "v1")
    made.run("sign", ":v1", "--key", str(scene.folder / "cosign.key"))
    target = f"{scene.repo}-copy"
    words = ["cp", "-r", "--from-oci-layout", "--to-plain-http", f"{layout}:v1", f"{target}:v1"]
    subprocess.run([peer("oras"), *words], capture_output=True, check=True)
    moved = Scene(made, target, digest, scene.folder, scene.program)
    moved.cosign_verify("cosign.pub")
