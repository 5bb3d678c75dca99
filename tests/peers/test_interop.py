"""What other tools make of what we push, and we of what they push (DESIGN §1, promise 6)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundle import Bundle, Node, call, tree
from tests.support.oci import Repository, digest_of

Peer = Callable[[str], str]

FILES = {
    "config.json": "{}\n",
    "weights/model.safetensors": "w" * 10_000,
    "README.md": "# model\n",
    "größe/模型 1.bin": "unicode and a space\n",
    "empty.txt": "",
}


def run(*words: str, cwd: Path | None = None) -> bytes:
    done = subprocess.run(words, cwd=cwd, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def pushed(repo: str, tmp_path: Path) -> tuple[Bundle, str]:
    """A bundle on the real registry, under v1, and its digest."""
    made = Bundle.create(tmp_path / "a", repo, FILES)
    return made, made.push("--tag", "v1")


@pytest.fixture
def layout(tmp_path: Path) -> tuple[Bundle, Path, str]:
    """A bundle in an OCI layout, under v1, and its digest."""
    made = Bundle.create(tmp_path / "a", f"layout:{tmp_path / 'layout'}", FILES)
    return made, tmp_path / "layout", made.push("--tag", "v1")


def without_metadata(root: Path) -> dict[str, Node]:
    return {name: node for name, node in tree(root).items() if not name.startswith(".bundle/")}


def test_oras_pulls_the_tree(pushed: tuple[Bundle, str], repo: str, tmp_path: Path, peer: Peer) -> None:
    made, _ = pushed
    run(peer("oras"), "pull", "--plain-http", f"{repo}:v1", "-o", str(tmp_path / "out"))
    assert without_metadata(tmp_path / "out") == made.tree()


def test_oras_finds_the_artifact_type(pushed: tuple[Bundle, str], repo: str, peer: Peer) -> None:
    shown = json.loads(run(peer("oras"), "manifest", "fetch", "--plain-http", f"{repo}:v1"))
    assert shown["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"


def test_oras_copies_to_another_repository_under_the_same_digest(
    pushed: tuple[Bundle, str], repo: str, tmp_path: Path, peer: Peer
) -> None:
    made, digest = pushed
    other = f"{repo}-copy"
    run(peer("oras"), "cp", "--from-plain-http", "--to-plain-http", f"{repo}:v1", f"{other}:v1")
    assert Repository(other).digest("v1") == digest
    clone = Bundle.clone(f"{other}:v1", tmp_path / "c")
    assert clone.tree() == made.tree()
    clone.run("verify", ":v1")


def test_oras_copies_into_a_layout_that_we_read(
    pushed: tuple[Bundle, str], repo: str, tmp_path: Path, peer: Peer
) -> None:
    made, digest = pushed
    target = f"{tmp_path / 'copied'}:v1"
    run(peer("oras"), "cp", "--from-plain-http", f"{repo}:v1", "--to-oci-layout", target)
    assert call("--json", "inspect", f"layout:{target}").json["digest"] == digest
    assert Bundle.clone(f"layout:{target}", tmp_path / "c").tree() == made.tree()


def test_oras_lists_our_tags(pushed: tuple[Bundle, str], repo: str, peer: Peer) -> None:
    made, _ = pushed
    made.push("--tag", "v2")
    assert run(peer("oras"), "repo", "tags", "--plain-http", repo).decode().split() == ["v1", "v2"]


def test_crane_reads_the_manifest(pushed: tuple[Bundle, str], repo: str, peer: Peer) -> None:
    _, digest = pushed
    raw = run(peer("crane"), "manifest", "--insecure", f"{repo}:v1")
    assert digest_of(raw.rstrip(b"\n")) == digest or digest_of(raw) == digest
    assert run(peer("crane"), "digest", "--insecure", f"{repo}:v1").decode().strip() == digest


def test_crane_validates_and_copies(pushed: tuple[Bundle, str], repo: str, peer: Peer) -> None:
    _, digest = pushed
    run(peer("crane"), "copy", "--insecure", f"{repo}:v1", f"{repo}:by-crane")
    assert Repository(repo).digest("by-crane") == digest


def test_skopeo_inspects_raw(pushed: tuple[Bundle, str], repo: str, peer: Peer) -> None:
    _, digest = pushed
    raw = run(peer("skopeo"), "inspect", "--tls-verify=false", "--raw", f"docker://{repo}:v1")
    assert digest_of(raw) == digest


def test_skopeo_copies_under_the_same_digest(pushed: tuple[Bundle, str], repo: str, tmp_path: Path, peer: Peer) -> None:
    made, digest = pushed
    words = ("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
    run(peer("skopeo"), *words, f"docker://{repo}:v1", f"docker://{repo}-skopeo:v1")
    assert Repository(f"{repo}-skopeo").digest("v1") == digest
    assert Bundle.clone(f"{repo}-skopeo:v1", tmp_path / "c").tree() == made.tree()


def test_skopeo_copies_to_a_layout_that_we_read(
    pushed: tuple[Bundle, str], repo: str, tmp_path: Path, peer: Peer
) -> None:
    made, digest = pushed
    target = tmp_path / "from-skopeo"
    run(peer("skopeo"), "copy", "--src-tls-verify=false", f"docker://{repo}:v1", f"oci:{target}:v1")
    assert call("--json", "inspect", f"layout:{target}:v1").json["digest"] == digest
    clone = Bundle.clone(f"layout:{target}:v1", tmp_path / "c")
    assert clone.tree() == made.tree()
    # And it stays a layout that others read when we go on with it.
    clone.commit({"config.json": "v2\n"})
    raw = run(peer("skopeo"), "inspect", "--raw", f"oci:{target}:v1")
    assert digest_of(raw) == clone.json("inspect")["digest"]


def test_oras_reads_our_layout(layout: tuple[Bundle, Path, str], tmp_path: Path, peer: Peer) -> None:
    made, where, digest = layout
    run(peer("oras"), "pull", "--oci-layout", f"{where}:v1", "-o", str(tmp_path / "out"))
    assert without_metadata(tmp_path / "out") == made.tree()
    assert run(peer("oras"), "repo", "tags", "--oci-layout", str(where)).decode().split() == ["v1"]
    shown = run(peer("oras"), "manifest", "fetch", "--oci-layout", f"{where}:v1", "--descriptor")
    assert json.loads(shown)["digest"] == digest


def test_skopeo_copies_from_our_layout(layout: tuple[Bundle, Path, str], repo: str, tmp_path: Path, peer: Peer) -> None:
    made, where, digest = layout
    skopeo = peer("skopeo")
    run(skopeo, "copy", f"oci:{where}:v1", f"oci:{tmp_path / 'second'}:v1")
    assert call("--json", "inspect", f"layout:{tmp_path / 'second'}:v1").json["digest"] == digest
    words = ("copy", "--dest-tls-verify=false", "--preserve-digests")
    run(skopeo, *words, f"oci:{where}:v1", f"docker://{repo}:v1")
    assert Repository(repo).digest("v1") == digest
    assert Bundle.clone(f"{repo}:v1", tmp_path / "c").tree() == made.tree()


def test_what_oras_pushes_we_read(repo: str, tmp_path: Path, peer: Peer) -> None:
    source = Bundle(tmp_path / "source")
    source.write({"sub/x.txt": "x\n", "y.bin": "y" * 1000, "z z.json": "{}\n"})
    words = ("push", "--plain-http", f"{repo}:v1", "sub/x.txt", "y.bin", "z z.json")
    run(peer("oras"), *words, cwd=source.root)
    assert set(call("--json", "ls", f"{repo}:v1").json["files"]) == {"sub/x.txt", "y.bin", "z z.json"}
    assert call("--json", "inspect", f"{repo}:v1").json["kind"] == "application/vnd.unknown.artifact.v1"
    assert call("cat", f"{repo}:v1:sub/x.txt").data == b"x\n"
    clone = Bundle.clone(f"{repo}:v1", tmp_path / "c")
    assert clone.tree() == source.tree()
    assert clone.changes() == {}
    # oras pushes again; a pull brings only that.
    source.write({"sub/x.txt": "x2\n"})
    run(peer("oras"), *words, cwd=source.root)
    assert clone.json("pull")["fetched_blobs"] == 1
    assert clone.tree() == source.tree()


def test_an_index_made_by_oras_of_a_bundle_is_that_bundle(
    pushed: tuple[Bundle, str], repo: str, tmp_path: Path, peer: Peer
) -> None:
    made, _ = pushed
    run(peer("oras"), "manifest", "index", "create", "--plain-http", f"{repo}:all", "v1")
    clone = Bundle.clone(f"{repo}:all", tmp_path / "c")
    assert clone.tree() == made.tree()
    assert clone.changes() == {}


def test_an_annotation_by_oras_moves_the_tag_and_we_notice(
    pushed: tuple[Bundle, str], repo: str, tmp_path: Path, peer: Peer
) -> None:
    """Somebody else's tool moves our tag: the lease holds against it as well."""
    made, _ = pushed
    other = Bundle(tmp_path / "other")
    other.write({"foreign.txt": "f\n"})
    run(peer("oras"), "push", "--plain-http", f"{repo}:v1", "foreign.txt", cwd=other.root)
    made.write({"config.json": "v2\n"})
    error = made.refused(5, "push", "--tag", "v1")
    assert "foreign.txt" in error["message"]
