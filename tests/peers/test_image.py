"""The image layout through the eyes of those who mount, check and copy images (facts: format §4.3)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.support.bundle import Bundle, Node, call, tree

Peer = Callable[[str], str]
FILES: dict[str, str | bytes] = {
    "README.md": "# model\n",
    "config.json": "{}\n",
    "weights/model.safetensors": Random(0).randbytes(9 << 20),
    "größe/模型 1.txt": "unicode and a space\n",
    f"{'n' * 120}/{'m' * 130}": "long\n",
    "empty.txt": "",
    **{f"src/d{number % 7}/f{number:03}.py": f"{number}\n" * number for number in range(200)},
}


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout.decode()


def make(root: Path, remote: str) -> Bundle:
    made = Bundle.create(root, remote)
    made.write({**FILES, "bin/run": "#!/bin/sh\n"})
    made.path("bin/run").chmod(0o755)
    made.path("logs").mkdir()
    made.path("latest").symlink_to("weights/model.safetensors")
    made.run("add", ".")
    return made


def exported(peer: Peer, ref: str, out: Path) -> dict[str, Node]:
    run(peer("crane"), "export", "--insecure", ref, f"{out}.tar")
    out.mkdir()
    run("tar", "-xpf", f"{out}.tar", "-C", str(out))
    return {name: node for name, node in tree(out).items() if not name.startswith(".bundle/")}


def test_every_tool_for_images_takes_it(repo: str, tmp_path: Path, peer: Peer) -> None:
    made = make(tmp_path / "a", repo)
    digest = made.push("--layout", "image", "--tag", "v1")
    run(peer("crane"), "validate", "--insecure", "--remote", f"{repo}:v1")
    assert exported(peer, f"{repo}:v1", tmp_path / "out") == made.tree()
    seen = json.loads(run(peer("skopeo"), "inspect", "--tls-verify=false", f"docker://{repo}:v1"))
    assert (seen["Digest"], seen["Os"], seen["Architecture"]) == (digest, "linux", "amd64")
    copied = f"docker-archive:{tmp_path / 'image.tar'}:team/model:v1"
    run(peer("skopeo"), "copy", "--src-tls-verify=false", f"docker://{repo}:v1", copied)
    run(peer("skopeo"), "copy", "--src-tls-verify=false", f"docker://{repo}:v1", f"oci:{tmp_path / 'layout'}:v1")
    assert json.loads(run(peer("skopeo"), "inspect", f"oci:{tmp_path / 'layout'}:v1"))["Digest"] == digest


def test_what_they_make_for_docker_comes_back(repo: str, tmp_path: Path, peer: Peer) -> None:
    made = make(tmp_path / "a", repo)
    digest = made.push("--layout", "image", "--tag", "v1")
    skopeo, crane = tmp_path / "skopeo.tar", tmp_path / "crane.tar"
    copied = ("--src-tls-verify=false", f"docker://{repo}:v1", f"docker-archive:{skopeo}:team/model:v1")
    run(peer("skopeo"), "copy", *copied)
    run(peer("crane"), "pull", "--insecure", f"{repo}:v1", str(crane))
    for path in (skopeo, crane):
        done = call("--json", "import", str(path), str(tmp_path / path.stem)).json
        assert done["digest"] == digest
        assert Bundle(tmp_path / path.stem).tree() == made.tree()


@pytest.mark.parametrize("words", [(), ("--prefix", "models", "--platform", "linux/arm64")])
def test_a_prefix_is_where_the_tree_is(repo: str, tmp_path: Path, peer: Peer, words: tuple[str, ...]) -> None:
    made = make(tmp_path / "a", repo)
    made.push("--layout", "image", "--tag", "v1", *words)
    run(peer("crane"), "validate", "--insecure", "--remote", f"{repo}:v1")
    below = "models/" if words else ""
    expected = {f"{below}{name}": node for name, node in made.tree().items()}
    assert exported(peer, f"{repo}:v1", tmp_path / "out") == expected
    config = json.loads(run(peer("crane"), "config", "--insecure", f"{repo}:v1"))
    assert config["architecture"] == ("arm64" if words else "amd64")
    # Ours is the tree itself, wherever it was put.
    assert Bundle.clone(f"{repo}:v1", tmp_path / "b").tree() == made.tree()


def test_oras_pulls_the_tree(repo: str, tmp_path: Path, peer: Peer) -> None:
    made = make(tmp_path / "a", repo)
    made.push("--layout", "image", "--tag", "v1")
    run(peer("oras"), "pull", "--plain-http", f"{repo}:v1", "-o", str(tmp_path / "out"))
    pulled = {name: node for name, node in tree(tmp_path / "out").items() if not name.startswith(".bundle/")}
    assert pulled == made.tree()


def test_a_copy_by_skopeo_is_ours_still(repo: str, tmp_path: Path, peer: Peer) -> None:
    made = make(tmp_path / "a", repo)
    digest = made.push("--layout", "image", "--tag", "v1")
    words = ("--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{repo}:v1", f"docker://{repo}-copy:v1")
    run(peer("skopeo"), "copy", *words)
    assert call("--json", "inspect", f"{repo}-copy:v1").json["digest"] == digest
    assert Bundle.clone(f"{repo}-copy:v1", tmp_path / "b").tree() == made.tree()
