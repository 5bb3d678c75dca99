"""What real tools push is cloned as they pull it themselves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.support.bundle import Bundle, Node, call, tree

Peer = Callable[[str], str]


def run(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout.decode()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Files of all kinds in directories of all kinds."""
    made = Bundle(tmp_path / "source")
    made.root.mkdir()
    names = ["dir/a.txt", "dir/größe/模型.bin", f"dir/{'n' * 120}/{'m' * 120}", "other/x", "top.bin", "empty.txt"]
    made.write({name: Random(name).randbytes(0 if name == "empty.txt" else 50_000) for name in names})
    made.write({"dir/run.sh": "#!/bin/sh\n"})
    made.path("dir/run.sh").chmod(0o755)
    made.path("dir/nothing").mkdir()
    made.path("dir/link").symlink_to("a.txt")
    made.path("dir/größe/up").symlink_to("../run.sh")
    return made.root


PUSHES = {
    "files": ("top.bin", "empty.txt"),
    "a-directory": ("dir",),
    "directories-and-files": ("dir", "other", "top.bin"),
    "everything": (".",),
    "a-file-in-a-directory": ("dir/a.txt:application/x.text",),
    "with-a-config": ("--config", "top.bin:application/x.config", "dir"),
    "with-a-type": ("--artifact-type", "application/vnd.acme.model", "dir", "top.bin:application/x"),
    "an-older-manifest": ("--image-spec", "v1.0", "dir", "top.bin"),
}


@pytest.mark.parametrize("words", PUSHES.values(), ids=PUSHES.keys())
def test_what_oras_pushes_is_cloned_as_oras_pulls_it(
    repo: str, source: Path, tmp_path: Path, peer: Peer, words: tuple[str, ...]
) -> None:
    run(peer("oras"), "push", "--plain-http", f"{repo}:v1", *words, cwd=source)
    run(peer("oras"), "pull", "--plain-http", f"{repo}:v1", "-o", str(tmp_path / "oras"))
    clone = Bundle.clone(f"{repo}:v1", tmp_path / "clone")
    assert clone.tree() == tree(tmp_path / "oras")
    assert clone.changes() == {}
    assert [asked.method for asked in clone.requests("pull")] == ["HEAD"]
    assert call("verify", f"{repo}:v1").code == 0


def test_an_index_that_oras_makes_is_cloned_as_oras_pulls_it(
    repo: str, source: Path, tmp_path: Path, peer: Peer
) -> None:
    for number, words in enumerate((("dir",), ("other", "top.bin"))):
        run(peer("oras"), "push", "--plain-http", f"{repo}:shard{number}", *words, cwd=source)
    run(peer("oras"), "manifest", "index", "create", "--plain-http", f"{repo}:v1", "shard0", "shard1")
    run(peer("oras"), "pull", "--plain-http", f"{repo}:v1", "-o", str(tmp_path / "oras"))
    clone = Bundle.clone(f"{repo}:v1", tmp_path / "clone")
    assert clone.tree() == tree(tmp_path / "oras")
    assert clone.changes() == {}


def test_what_was_cloned_and_pushed_is_pulled_by_oras(repo: str, source: Path, tmp_path: Path, peer: Peer) -> None:
    run(peer("oras"), "push", "--plain-http", f"{repo}:v1", "dir", "top.bin", cwd=source)
    clone = Bundle.clone(f"{repo}:v1", tmp_path / "clone")
    clone.commit({"new.txt": "new\n"})
    run(peer("oras"), "pull", "--plain-http", f"{repo}:v1", "-o", str(tmp_path / "oras"))
    pulled = {name: node for name, node in tree(tmp_path / "oras").items() if not name.startswith(".bundle/")}
    assert pulled == clone.tree()
    assert pulled["new.txt"] == Node("file", b"new\n")


def test_container_images_are_called_by_their_name(repo: str, source: Path, tmp_path: Path, peer: Peer) -> None:
    layer = tmp_path / "layer.tar"
    run("tar", "-cf", str(layer), "-C", str(source), ".")
    run(peer("crane"), "append", "--insecure", "-f", str(layer), "-t", f"{repo}:v1", "--oci-empty-base")
    run(
        peer("skopeo"),
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "-f",
        "v2s2",
        f"docker://{repo}:v1",
        f"docker://{repo}:v2",
    )
    for tag in ("v1", "v2"):
        error = json.loads(call("--json", "ls", f"{repo}:{tag}", expect=10).out)["error"]
        assert "container image" in error["message"]
    assert not (tmp_path / "c").exists()
