"""Packed trees through the eyes of other tools: the same tree, bits and links included (facts: format §4.2)."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.support.bundle import Bundle, Content, Node, call, tree
from tests.support.oci import Repository

Peer = Callable[[str], str]

LONG = f"{'n' * 120}/{'m' * 130}"
FILES: dict[str, Content] = {
    "README.md": "# model\n",
    "config.json": "{}\n",
    "weights/model.safetensors": Random(0).randbytes(300_000),
    "größe/模型 1.txt": "unicode and a space\n",
    LONG: "long\n",
    "empty.txt": "",
    "sizes/511": "x" * 511,
    "sizes/512": "x" * 512,
    "sizes/513": "x" * 513,
    "sizes/65535": "y" * 65_535,
    "sizes/65536": "y" * 65_536,
    **{f"src/d{number % 7}/f{number:03}.py": f"{number}\n" * (number % 50) for number in range(200)},
}
PLAIN_LINKS = {
    "latest": "weights/model.safetensors",
    "a/b/out-of-its-top": "../../größe/模型 1.txt",
    "to-a-directory": "src/d1",
    "dangling": "not/there",
    "größe/lien": f"../{LONG}",
}
THROUGH = {"a/through": "../to-a-directory/f001.py", "z-through": "latest", "0-through": "a/b/out-of-its-top"}


def run(*words: str, cwd: Path | None = None, umask: int = -1) -> None:
    done = subprocess.run(words, cwd=cwd, capture_output=True, timeout=120, check=False, umask=umask)
    assert done.returncode == 0, (words, done.stdout, done.stderr)


def make(root: Path, remote: str, links: dict[str, str], mode: str = "auto") -> tuple[Bundle, str]:
    made = Bundle.create(root, remote)
    made.write({**FILES, "bin/run": "#!/bin/sh\n", "bin/deep/er/run.sh": "#!/bin/sh\n"})
    for name in ("bin/run", "bin/deep/er/run.sh"):
        made.path(name).chmod(0o755)
    for name in ("logs", "deep/empty/directory"):
        made.path(name).mkdir(parents=True)
    for name, target in links.items():
        made.path(name).parent.mkdir(parents=True, exist_ok=True)
        made.path(name).symlink_to(target)
    made.run("add", ".")
    return made, made.push("--tag", "v1", "--pack", mode)


def pulled(root: Path) -> dict[str, Node]:
    return {name: node for name, node in tree(root).items() if not name.startswith(".bundle/")}


def oras_pull(peer: Peer, ref: str, out: Path, *words: str, umask: int = -1) -> None:
    run(peer("oras"), "pull", "--plain-http", ref, "-o", str(out), *words, umask=umask)


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_oras_pulls_the_tree_exactly(repo: str, tmp_path: Path, peer: Peer, mode: str) -> None:
    made, _ = make(tmp_path / "a", repo, {**PLAIN_LINKS, **THROUGH}, mode)
    for number in range(3):
        oras_pull(peer, f"{repo}:v1", tmp_path / f"out{number}", "--concurrency", str(1 + 7 * number))
        assert pulled(tmp_path / f"out{number}") == made.tree()


def test_oras_pulls_twice_where_no_link_leads_through_another(repo: str, tmp_path: Path, peer: Peer) -> None:
    made, _ = make(tmp_path / "a", repo, PLAIN_LINKS)
    for _ in range(2):
        oras_pull(peer, f"{repo}:v1", tmp_path / "out")
        assert pulled(tmp_path / "out") == made.tree()


def test_oras_pulls_the_next_version_over_it(repo: str, tmp_path: Path, peer: Peer) -> None:
    made, _ = make(tmp_path / "a", repo, PLAIN_LINKS)
    oras_pull(peer, f"{repo}:v1", tmp_path / "out")
    made.write({"src/d1/f001.py": "second\n", "bin/run": "second\n"})
    made.push("--tag", "v2")
    oras_pull(peer, f"{repo}:v2", tmp_path / "out")
    assert pulled(tmp_path / "out") == made.tree()


def test_two_thousand_files_at_any_concurrency(repo: str, tmp_path: Path, peer: Peer) -> None:
    random = Random(2000)
    made = Bundle.create(tmp_path / "a", repo)
    made.write(
        {f"d{n % 30}/{random.getrandbits(40):x}": random.randbytes(random.randrange(6_000)) for n in range(2_000)}
    )
    made.run("add", ".")
    made.push("--tag", "v1")
    for number, concurrency in enumerate((1, 3, 8, 21)):
        oras_pull(peer, f"{repo}:v1", tmp_path / f"out{number}", "--concurrency", str(concurrency))
        assert pulled(tmp_path / f"out{number}") == made.tree()


def test_modes_are_what_the_umask_leaves(repo: str, tmp_path: Path, peer: Peer) -> None:
    make(tmp_path / "a", repo, {})
    oras_pull(peer, f"{repo}:v1", tmp_path / "out", umask=0o077)
    modes = {name: stat.S_IMODE(os.stat(tmp_path / "out" / name).st_mode) for name in ("bin/run", "src/d1/f001.py")}
    assert modes == {"bin/run": 0o700, "src/d1/f001.py": 0o600}


def test_oras_crane_and_skopeo_copy_under_the_same_digest(repo: str, tmp_path: Path, peer: Peer) -> None:
    made, digest = make(tmp_path / "a", repo, {**PLAIN_LINKS, **THROUGH})
    run(peer("oras"), "cp", "--from-plain-http", f"{repo}:v1", "--to-oci-layout", f"{tmp_path / 'oras'}:v1")
    run(peer("oras"), "cp", "--to-plain-http", "--from-oci-layout", f"{tmp_path / 'oras'}:v1", f"{repo}-oras:v1")
    run(peer("crane"), "copy", "--insecure", f"{repo}:v1", f"{repo}-crane:v1")
    words = ("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
    run(peer("skopeo"), *words, f"docker://{repo}:v1", f"oci:{tmp_path / 'skopeo'}:v1")
    run(peer("skopeo"), *words, f"oci:{tmp_path / 'skopeo'}:v1", f"docker://{repo}-skopeo:v1")
    for name in ("oras", "crane", "skopeo"):
        assert Repository(f"{repo}-{name}").digest("v1") == digest
        assert Bundle.clone(f"{repo}-{name}:v1", tmp_path / f"from-{name}").tree() == made.tree()
        oras_pull(peer, f"{repo}-{name}:v1", tmp_path / f"out-{name}")
        assert pulled(tmp_path / f"out-{name}") == made.tree()
    assert call("--json", "inspect", f"layout:{tmp_path / 'oras'}:v1").json["digest"] == digest


def test_every_pack_is_a_tar_that_tar_unpacks(repo: str, tmp_path: Path) -> None:
    """By hand, as docs/format.md says: each pack into the root, in any order, and the raw layers by their titles."""
    made, _ = make(tmp_path / "a", repo, {**PLAIN_LINKS, **THROUGH})
    out = tmp_path / "out"
    out.mkdir()
    store = Repository(repo)
    for layer in json.loads(made.run("inspect", "--manifest", ":v1").out)["layers"]:
        title, data = layer["annotations"]["org.opencontainers.image.title"], store.blob(layer["digest"])
        if layer["annotations"].get("io.deis.oras.content.unpack"):
            (tmp_path / "pack").write_bytes(data)
            run("tar", "-xzf", str(tmp_path / "pack"), "-C", str(out))
        else:
            (out / title).parent.mkdir(parents=True, exist_ok=True)
            (out / title).write_bytes(data)
    assert pulled(out) == made.tree()
