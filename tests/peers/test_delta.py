"""Delta versions through the eyes of other tools: nothing is lost, nothing stale is left in silence (facts: format §5)."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest

from modelops_bundle.formats import cuts
from modelops_bundle.model.pointer import is_pointer
from modelops_bundle.workspace import chunks
from tests.support.bundle import Bundle, Node, call, tree
from tests.support.oci import FILEPATH, TITLE, Repository, dumps
from tests.support.registry_process import BINARY, ProcessRegistry

Peer = Callable[[str], str]

PATH = "weights/model.safetensors"
OLD = Random(1).randbytes(1_500_000)
NEW = OLD[:600_000] + b"other bytes" + OLD[700_000:]
SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "modelpack-config-schema.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _small_files_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SMALLEST", 1_000_000)
    monkeypatch.setattr(chunks, "SMALLEST", 1_000_000)


def run(*words: str, cwd: Path | None = None) -> bytes:
    done = subprocess.run(words, cwd=cwd, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def make(root: Path, repo: str) -> Bundle:
    """A bundle with v1 plain and v2 in delta storage."""
    made = Bundle.create(root, repo)
    made.write({PATH: OLD, "README.md": "one\n", "config.json": "{}\n", "run.sh": "#!/bin/sh\n"})
    made.path("run.sh").chmod(0o755)
    made.path("latest").symlink_to(PATH)
    made.run("add", ".")
    made.push("--tag", "v1")
    made.write({PATH: NEW, "README.md": "two\n"})
    made.push("--tag", "v2", "--delta")
    assert manifest_of(repo, "v2")["annotations"]["dev.modelops.bundle.storage"] == "delta"
    return made


def manifest_of(repo: str, tag: str) -> dict[str, Any]:
    found = Repository(repo).manifest(tag)
    assert found is not None, tag
    value = json.loads(found[1])
    assert isinstance(value, dict)
    return value


def pulled(root: Path) -> dict[str, Node]:
    return {name: node for name, node in tree(root).items() if not name.startswith(".bundle/")}


def oras_pull(peer: Peer, ref: str, out: Path) -> Path:
    run(peer("oras"), "pull", "--plain-http", ref, "-o", str(out))
    return out


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("over_v1", [False, True])
def test_oras_leaves_a_pointer_and_materialize_makes_the_tree(
    repo: str, tmp_path: Path, peer: Peer, over_v1: bool
) -> None:
    made = make(tmp_path / "a", repo)
    out = tmp_path / "out"
    if over_v1:
        oras_pull(peer, f"{repo}:v1", out)
        assert (out / PATH).read_bytes() == OLD
    oras_pull(peer, f"{repo}:v2", out)
    assert is_pointer((out / PATH).read_bytes()), "nothing stale is left there in silence"
    assert b"bundle materialize ." in (out / PATH).read_bytes()
    packs = {path.name for path in (out / ".bundle/packs").iterdir()}
    titled = {layer["annotations"][TITLE] for layer in manifest_of(repo, "v2")["layers"]}
    assert packs == {title.rpartition("/")[2] for title in titled if title.startswith(".bundle/packs/")}
    assert call("--json", "verify", str(out), expect=5).error["facts"]["pointers"] == [PATH]
    done = call("--json", "--offline", "materialize", str(out), "--remove-packs").json
    assert done["rebuilt"] == [PATH]
    assert sha256(out / PATH) == hashlib.sha256(NEW).hexdigest()
    assert pulled(out) == made.tree()
    assert not (out / ".bundle/packs").exists()
    call("verify", str(out))


def test_oras_pulls_again_over_what_was_put_together(repo: str, tmp_path: Path, peer: Peer) -> None:
    """As after every new version: the pointer is back, and so is the way to the file."""
    made = make(tmp_path / "a", repo)
    out = oras_pull(peer, f"{repo}:v2", tmp_path / "out")
    call("materialize", str(out))
    made.write({PATH: NEW[::-1][:1_200_000] + NEW[1_200_000:]})
    made.push("--tag", "v3", "--delta")
    oras_pull(peer, f"{repo}:v3", out)
    call("materialize", str(out))
    assert pulled(out) == made.tree()


@pytest.mark.parametrize("other", [False, True])
def test_a_flattened_version_needs_nothing(repo: str, crane_host: str, tmp_path: Path, peer: Peer, other: bool) -> None:
    place = f"{crane_host}/{repo.partition('/')[2]}" if other else repo
    made = make(tmp_path / "a", place)
    made.run("flatten", ":v2", "--tag", "release")
    assert pulled(oras_pull(peer, f"{place}:release", tmp_path / "out")) == made.tree()


def test_copies_keep_the_digest_and_everything(repo: str, tmp_path: Path, peer: Peer) -> None:
    made = make(tmp_path / "a", repo)
    digest = Repository(repo).digest("v2")
    run(peer("oras"), "cp", "--from-plain-http", "--to-plain-http", f"{repo}:v2", f"{repo}-oras:v2")
    run(peer("crane"), "copy", "--insecure", f"{repo}:v2", f"{repo}-crane:v2")
    words = ("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
    run(peer("skopeo"), *words, f"docker://{repo}:v2", f"docker://{repo}-skopeo:v2")
    for name in ("oras", "crane", "skopeo"):
        assert Repository(f"{repo}-{name}").digest("v2") == digest
        call("verify", f"{repo}-{name}:v2", "--deep")
        assert Bundle.clone(f"{repo}-{name}:v2", tmp_path / name).tree() == made.tree()


def test_copies_to_another_registry_and_a_layout(repo: str, crane_host: str, tmp_path: Path, peer: Peer) -> None:
    made = make(tmp_path / "a", repo)
    run(peer("oras"), "cp", "--from-plain-http", "--to-plain-http", f"{repo}:v2", f"{crane_host}/team/m:v2")
    run(peer("skopeo"), "copy", "--src-tls-verify=false", f"docker://{repo}:v2", f"oci:{tmp_path / 'layout'}:v2")
    for number, place in enumerate((f"{crane_host}/team/m:v2", f"layout:{tmp_path / 'layout'}:v2")):
        assert Bundle.clone(place, tmp_path / f"c{number}").tree() == made.tree()


def test_it_is_modelpack(repo: str, tmp_path: Path) -> None:
    make(tmp_path / "a", repo)
    manifest = manifest_of(repo, "v2")
    config = json.loads(Repository(repo).blob(manifest["config"]["digest"]))
    jsonschema.validate(config, SCHEMA)
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]
    pointer = next(layer for layer in manifest["layers"] if layer["annotations"][FILEPATH] == PATH)
    assert pointer["mediaType"] == "application/vnd.cncf.model.doc.v1.raw", "no weight, so that nobody loads it"


# --- garbage collection


@pytest.fixture
def alone(tmp_path: Path, peer: Peer) -> Iterator[ProcessRegistry]:
    """A registry of our own: it is stopped while its garbage is collected."""
    peer(BINARY)
    server = ProcessRegistry(tmp_path / "registry")
    yield server
    server.stop()


def collect(server: ProcessRegistry, tmp_path: Path, peer: Peer) -> None:
    server.stop()
    run(peer(BINARY), "garbage-collect", "--delete-untagged", str(tmp_path / "registry" / "config.yml"))
    server.restart()


def delete(repo: str, tag: str) -> None:
    host, _, name = repo.partition("/")
    url = f"http://{host}/v2/{name}/manifests/{Repository(repo).digest(tag)}"
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30).close()


def test_a_version_outlives_the_one_it_is_made_of(alone: ProcessRegistry, tmp_path: Path, peer: Peer) -> None:
    repo = f"{alone.host}/team/m"
    made = make(tmp_path / "a", repo)
    before = manifest_of(repo, "v1")
    delete(repo, "v1")
    collect(alone, tmp_path, peer)
    gone = next(each["digest"] for each in before["layers"] if each["annotations"][TITLE] == "README.md")
    with pytest.raises(urllib.error.HTTPError):
        Repository(repo).blob(gone)
    assert Bundle.clone(f"{repo}:v2", tmp_path / "c").tree() == made.tree()


def test_a_blob_that_no_layer_names_is_lost(alone: ProcessRegistry, tmp_path: Path, peer: Peer) -> None:
    """What proves the test above: the collector does take what only an index speaks of."""
    repo = f"{alone.host}/team/m"
    make(tmp_path / "a", repo)
    store, manifest = Repository(repo), manifest_of(repo, "v2")
    old = f"sha256:{hashlib.sha256(OLD).hexdigest()}"
    kept = [layer for layer in manifest["layers"] if layer["digest"] != old]
    assert len(kept) == len(manifest["layers"]) - 1
    store.put_manifest("v2", dumps({**manifest, "layers": kept}))
    delete(repo, "v1")
    assert store.blob(old) == OLD
    collect(alone, tmp_path, peer)
    with pytest.raises(urllib.error.HTTPError):
        store.blob(old)


# --- what oras pushed as a base


@pytest.mark.parametrize("cloned", [True, False])
def test_a_base_that_oras_pushed(repo: str, tmp_path: Path, peer: Peer, cloned: bool) -> None:
    """It has no index: its chunks are known from the file, which was here before it changed."""
    source = tmp_path / "source"
    (source / "weights").mkdir(parents=True)
    (source / PATH).write_bytes(OLD)
    (source / "config.json").write_bytes(b"{}\n")
    run(peer("oras"), "push", "--plain-http", f"{repo}:v1", PATH, "config.json", cwd=source)
    if cloned:
        made = Bundle.clone(f"{repo}:v1", tmp_path / "a")
    else:
        made = Bundle.create(tmp_path / "a", repo, {PATH: OLD, "config.json": "{}\n"})
        made.run("remote", "seen", ":v1")
        made.run("status", ":v1")
    made.write({PATH: NEW})
    done = made.json("push", "--tag", "v2", "--delta")
    assert manifest_of(repo, "v2")["annotations"]["dev.modelops.bundle.storage"] == "delta"
    assert done["sent_bytes"] < 400_000
    titles = {layer["annotations"][TITLE] for layer in manifest_of(repo, "v2")["layers"]}
    assert f".bundle/packs/{hashlib.sha256(OLD).hexdigest()}" in titles, "the layer that oras made"
    assert Bundle.clone(f"{repo}:v2", tmp_path / "c").tree() == made.tree()
    out = oras_pull(peer, f"{repo}:v2", tmp_path / "out")
    call("materialize", str(out))
    assert pulled(out) == made.tree()
