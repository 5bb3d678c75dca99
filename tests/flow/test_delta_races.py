"""Delta versions while others work: another push, another pull with the same cache, and the registry's garbage collector."""

from __future__ import annotations

import fcntl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from modelops_bundle.events import observe_checkpoints
from tests.support import large
from tests.support.bundle import Bundle, Result
from tests.support.large import safetensors, tensors, weights
from tests.support.oci import PREFIX, Repository
from tests.support.registry_process import BINARY, ProcessRegistry, Registry
from tests.support.remote_check import damage, manifest_of
from tests.support.worlds import litter
from tests.support.zygote import Outcome, Zygote

pytestmark = pytest.mark.registry

MODEL, CONFIG = "model.safetensors", "config.json"
SMALL = f"{large.__name__}:{large.make_small_here.__name__}"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    large.make_small(monkeypatch)


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    with Zygote(tmp_path / "zygote") as running:
        yield running


def begun(repo: str, root: Path) -> Bundle:
    """A bundle with one large file, pushed plain as v1."""
    made = Bundle.create(root, repo, {MODEL: safetensors(tensors()), CONFIG: "{}\n"})
    made.push("--tag", "v1")
    return made


def edit(work: Bundle, *names: int) -> None:
    """Change some tensors."""
    held = tensors()
    for number in names:
        held[f"layer.{number}.weight"] = weights(1000 + number, 6000)
    work.write({MODEL: safetensors(held)})
    work.run("add", ".")


def is_delta(repo: str, tag: str) -> bool:
    """Whether a version is stored in chunks, and all of it is there."""
    host, _, name = repo.partition("/")
    assert damage(f"http://{host}", name, tag) == []
    manifest = manifest_of(f"http://{host}", name, tag)
    return manifest is not None and manifest["annotations"][f"{PREFIX}storage"] == "delta"


# --- two at a time


def together(zygote: Zygote, gate: Path, commands: Sequence[tuple[Bundle, Sequence[str]]]) -> list[Outcome]:
    """Run commands at the same time: each begins when all wait."""
    with gate.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        children = [zygote.start(words, cwd=work.root, prepare=SMALL, gate=str(gate)) for work, words in commands]
    return [child.wait() for child in children]


def test_two_push_deltas_to_one_repository(repo: str, tmp_path: Path, zygote: Zygote) -> None:
    ann = begun(repo, tmp_path / "ann")
    ben = Bundle.clone(f"{repo}:v1", tmp_path / "ben")
    for turn in range(3):
        # What both change to the same is the same pack, or chunks of two.
        edit(ann, turn, 5)
        edit(ben, turn + 1, 5)
        tags = [f"{name}-{turn}" for name in ("ann", "ben")]
        commands = [(work, ["push", "--delta", "--tag", tag]) for work, tag in zip((ann, ben), tags, strict=True)]
        for outcome in together(zygote, tmp_path / "gate", commands):
            assert outcome.code == 0, outcome
        for work, tag in zip((ann, ben), tags, strict=True):
            assert is_delta(repo, tag)
            assert Bundle.clone(f"{repo}:{tag}", tmp_path / tag).tree() == work.tree()


@pytest.mark.parametrize("whole", [False, True], ids=["chunks", "whole packs"])
def test_two_pull_one_version_with_one_cache(repo: str, tmp_path: Path, zygote: Zygote, whole: bool) -> None:
    author = begun(repo, tmp_path / "author")
    clones = [Bundle.clone(f"{repo}:v1", tmp_path / name) for name in ("ann", "ben")]
    for turn in range(3):
        edit(author, *(range(8) if whole else (turn, 6)))
        author.write({CONFIG: f'{{"turn": {turn}}}\n'})
        author.run("add", ".")
        author.push("--delta", "--tag", f"v{turn + 2}")
        words = ["--config", "cache=true", "pull", f":v{turn + 2}"]
        for outcome in together(zygote, tmp_path / "gate", [(clone, words) for clone in clones]):
            assert outcome.code == 0, outcome
        for clone in clones:
            assert clone.tree() == author.tree()
            assert clone.changes() == {} and litter(clone.root) == []
    # What the cache holds by now is a version like any other.
    third = tmp_path / "third"
    zygote.ok(["--config", "cache=true", "clone", f"{repo}:v4", str(third)], cwd=tmp_path)
    assert Bundle(third).tree() == author.tree()


# --- the registry's garbage collector


@pytest.fixture
def alone(tmp_path: Path, peer: Callable[[str], str]) -> Iterator[ProcessRegistry]:
    """A registry of our own: it is stopped while its garbage is collected."""
    peer(BINARY)
    server = ProcessRegistry(tmp_path / "registry")
    yield server
    server.stop()


def collect(server: Registry, repo: str, tag: str, config: Path) -> None:
    """Delete a version, and remove what no other has, as its manual says: while nobody writes."""
    host, _, name = repo.partition("/")
    url = f"http://{host}/v2/{name}/manifests/{Repository(repo).digest(tag)}"
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30).close()
    server.stop()
    words = [BINARY, "garbage-collect", "--delete-untagged", str(config)]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done
    server.restart()


def pushed_while_collected(server: ProcessRegistry, work: Bundle, config: Path, step: str, *words: str) -> Result:
    """Push, while v1 is deleted and the garbage collected at a step."""
    waiting = [step]

    def strike(name: str) -> None:
        if name in waiting:
            waiting.remove(name)
            collect(server, f"{server.host}/team/model", "v1", config)

    undo = observe_checkpoints(strike)
    try:
        result = work.run("--progress", "json", "push", "--delta", *words, expect=None)
    finally:
        undo()
    assert not waiting
    return result


def test_the_base_is_collected_while_its_delta_is_pushed(alone: ProcessRegistry, tmp_path: Path) -> None:
    """After the plan was made, and the new pack with it: all is made anew of the tree."""
    repo = f"{alone.host}/team/model"
    work = begun(repo, tmp_path / "a")
    edit(work, 3)
    config = tmp_path / "registry" / "config.yml"
    result = pushed_while_collected(alone, work, config, "blobs sent", "--tag", "v2")
    assert result.code == 0 and "lost" in result.notices, result
    assert is_delta(repo, "v2")
    assert Bundle.clone(f"{repo}:v2", tmp_path / "b").tree() == work.tree()
    edit(work, 3, 4)
    assert work.json("push", "--delta", "--tag", "v3")["sent_bytes"] < 2 * len(weights(1, 6000))


def test_it_is_collected_with_the_manifest_before_the_tag(alone: ProcessRegistry, tmp_path: Path) -> None:
    """Nothing is tagged that is not whole, and the same command again makes all of it anew."""
    repo = f"{alone.host}/team/model"
    work = begun(repo, tmp_path / "a")
    edit(work, 3)
    config = tmp_path / "registry" / "config.yml"
    result = pushed_while_collected(alone, work, config, "manifest sent", "--tag", "v2")
    assert result.code == 6 and "run the same command again" in result.err, result
    assert manifest_of(alone.url, "team/model", "v2") is None
    work.push("--delta", "--tag", "v2")
    assert is_delta(repo, "v2")
    assert Bundle.clone(f"{repo}:v2", tmp_path / "b").tree() == work.tree()


def test_the_collector_takes_what_nobody_names(alone: ProcessRegistry, tmp_path: Path) -> None:
    """Negative control: the base is gone once no version has it."""
    repo = f"{alone.host}/team/model"
    begun(repo, tmp_path / "a")
    host, _, name = repo.partition("/")
    manifest = manifest_of(f"http://{host}", name, "v1")
    assert manifest is not None
    model = next(layer["digest"] for layer in manifest["layers"] if layer["size"] > large.LOW)
    store = Repository(repo)
    assert store.blob(model)
    collect(alone, repo, "v1", tmp_path / "registry" / "config.yml")
    with pytest.raises(OSError, match="404"):
        store.blob(model)
