"""SIGKILL at random bytes and requests of pushes, pulls and clones of real size, through a proxy, on a real registry.

A story of versions: each is pushed by one working directory and pulled (or cloned anew) by another, and every command is
killed on its way, some twice, some with an edit by the user before they are run again. The proxy kills when it has seen a
number of bytes or of requests, so a round depends on the seed and not on the clock. Facts: reliability §3.6, §6.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.workspace.layout import FOLDER
from tests.support.campaign import rounds
from tests.support.fault_proxy import FaultProxy, Flip, Status, Where
from tests.support.killing import Child, Killer, Moment, final, moments, standing
from tests.support.registry_process import Registry
from tests.support.remote_check import damage, make_room, manifest_digest
from tests.support.worlds import Tree, file, litter, look, write
from tests.support.zygote import Outcome, Zygote

SEED = int(os.environ.get("CAMPAIGN_SEED", "20251121"))
"""Of everything: `CAMPAIGN_SEED=n` runs other rounds."""
SIZE = 64 * 1024 * 1024
BIG = "weights/model.bin"
ROUNDS = 200


# --- versions


def large(name: str, size: int = SIZE) -> bytes:
    """`size` bytes of which no megabyte is like another."""
    block = hashlib.shake_128(name.encode()).digest(1 << 20)
    pieces = (f"{name} {number:08d}".encode() + block[len(name) + 9 :] for number in range(-(-size >> 20)))
    return b"".join(pieces)[:size]


def write_version(root: Path, seed: int, number: int) -> None:
    """Turn version `number` - 1 at `root` into `number`: another large file, some of 300 small ones, a mode, a link."""
    random = Random(f"{seed}/{number}")
    names = [f"data/{n % 7}/{n:03d}.txt" for n in range(320)]
    changing = names[:300] if number == 0 else random.sample(names, 60)
    for name in changing:
        path = root / name
        if number and random.random() < 0.2:
            path.unlink(missing_ok=True)
        else:
            write(root, {name: random.randbytes(random.randint(10, 9000))})
    write(root, {BIG: large(f"{seed}/{number}"), "run.sh": b"#!/bin/sh\n", "link": random.choice(names)})
    (root / "run.sh").chmod(0o755 if number % 2 else 0o644)


class Story:
    """Versions that travel from one working directory to another, by commands that are killed."""

    def __init__(self, registry: Registry, proxy: FaultProxy, zygote: Zygote, base: Path, seed: int) -> None:
        self.registry = registry
        self.proxy = proxy
        self.zygote = zygote
        self.seed = seed
        self.base = base
        self.repository = f"kills/{uuid.uuid4().hex}"
        self.reference = f"{proxy.host}/{self.repository}:latest"
        self.author, self.reader = base / "author", base / "reader"
        self.version = 0
        self.published: Tree = {}
        self.tally: Counter[str] = Counter()
        self.requests: dict[str, int] = {}
        self.moved: Counter[str] = Counter()
        """Bytes on the wire by verb, those of killed commands included."""
        self.large: list[str] = []
        """The large files of all versions."""
        self._begin()

    def _begin(self) -> None:
        """Two versions in peace, to know how many requests it takes."""
        self.author.mkdir()
        write_version(self.author, self.seed, 0)
        self.zygote.ok(["init", self.reference], ["add", "."], ["push"], cwd=self.author)
        self.zygote.ok(["clone", self.reference, self.reader], cwd=self.base)
        self._write_next()
        self.proxy.clear()
        self.zygote.ok(["push"], cwd=self.author)
        self.requests["push"] = len(self.proxy.clear().asked)
        self.zygote.ok(["pull"], cwd=self.reader)
        self.requests["pull"] = self.requests["clone"] = len(self.proxy.clear().asked)
        assert look(self.reader) == look(self.author)

    def _write_next(self) -> None:
        self.version += 1
        write_version(self.author, self.seed, self.version)
        self.zygote.ok(["add", "."], cwd=self.author)
        self.published = look(self.author)
        self.large.append(self.published[BIG][1])

    # --- rounds

    def round(self, number: int) -> list[str]:
        """What went wrong in round `number`."""
        random = Random(f"{self.seed}:{number}")
        if number % 2 == 0:
            verb, wrong = "push", self._push(random)
        else:
            verb = "clone" if number % 8 == 7 else "pull"
            wrong = self._pull(random, verb)
            make_room(self.registry.root, self.repository, self.large[:-1])
        self.tally[verb] += 1
        self.proxy.clear()
        return [f"seed {self.seed}, round {number} ({verb}): {what}" for what in wrong]

    def told(self) -> str:
        """The tally, and how often the bytes of a version travelled until it had arrived."""
        times = {verb: round(moved / SIZE / self.tally[verb], 2) for verb, moved in self.moved.items()}
        return f"{dict(self.tally)}, bytes moved per byte that had to: {times}"

    def _start(self, verb: str) -> Child:
        if verb == "clone":
            return self.zygote.start(["clone", self.reference, self.reader], cwd=self.base)
        return self.zygote.start([verb], cwd=self.author if verb == "push" else self.reader)

    def _kill(self, random: Random, verb: str, check: Callable[[], list[str]]) -> list[str]:
        """Kill the command, sometimes once more; what is wrong then, the moments before it."""
        told = []
        for attempt in range(2 if random.random() < 0.35 else 1):
            moment = moments(random, SIZE >> attempt, max(1, self.requests[verb] >> attempt))
            told.append(str(moment))
            killer = Killer(self.proxy, moment)
            outcome = killer.end(self._start(verb))
            self.moved[verb] += killer.counts.total()
            self.tally["kills"] += outcome.killed
            self.tally["second kills"] += outcome.killed and attempt
            self.tally["ended before"] += not outcome.killed
            if not outcome.killed and outcome.code:
                return [f"{told}: ended with {outcome.code}: {outcome.err}"]
            if wrong := check():
                return [f"{told}: {what}" for what in wrong]
        return []

    def _status(self, root: Path) -> list[str]:
        if not (root / FOLDER / "version").is_file():
            return []
        asked = self.zygote.run(["status"], cwd=root)
        return [f"status ends with {asked.code}: {asked.err}"] if asked.code else []

    # --- push

    def _push(self, random: Random) -> list[str]:
        before = manifest_digest(self.registry.url, self.repository, "latest")
        self._write_next()
        mine = look(self.author)

        def check() -> list[str]:
            wrong = [] if look(self.author) == mine else ["the working directory changed"]
            now = manifest_digest(self.registry.url, self.repository, "latest")
            if now != before:
                self.tally["tag moved, killed after"] += 1
                wrong += self._fetched(mine)
            return wrong + damage(self.registry.url, self.repository, "latest") + self._status(self.author)

        if wrong := self._kill(random, "push", check):
            return wrong
        edit = self._edit(random, self.author, mine)
        return self._push_again(edit) + self._undo(self.author, edit)

    def _push_again(self, edit: str | None) -> list[str]:
        expected = look(self.author)
        self.proxy.clear()
        again = self.zygote.run(["push"], cwd=self.author)
        self.moved["push"] += self.proxy.clear().total()
        if again.code == 5 and edit:
            # Killed after the tag had moved, and now there is something else to push: what we sent counts as unseen.
            self.tally["pushes refused until a pull"] += 1
            again = self.zygote.run(["pull"], ["push"], cwd=self.author)
        if again.code:
            return [f"push again ends with {again.code}: {again.err}"]
        wrong = final(self.author, expected) + damage(self.registry.url, self.repository, "latest")
        wrong += [f"litter: {name}" for name in litter(self.author)] + self._status(self.author)
        self.published = {path: what for path, what in expected.items() if not path.startswith("mine-")}
        return wrong

    def _fetched(self, expected: Tree) -> list[str]:
        """What is wrong with the version that the tag stands for."""
        target = self.base / "fetched"
        self.zygote.ok(["clone", f"{self.registry.host}/{self.repository}:latest", target], cwd=self.base)
        try:
            return final(target, expected)
        finally:
            shutil.rmtree(target)

    # --- pull

    def _pull(self, random: Random, verb: str) -> list[str]:
        if verb == "clone":
            shutil.rmtree(self.reader)
        old = look(self.reader) if self.reader.exists() else {}
        new = self.published

        def check() -> list[str]:
            return standing(self.reader, old, new) + self._status(self.reader)

        if wrong := self._kill(random, verb, check):
            return wrong
        edit = None
        if (self.reader / FOLDER / "version").is_file():
            edit = self._edit(random, self.reader, new)
        wrong = self._pull_again(verb, edit)
        return wrong + self._undo(self.reader, edit) + self._settled()

    def _pull_again(self, verb: str, edit: str | None) -> list[str]:
        kept = (self.reader / edit).read_bytes() if edit else b""
        self.proxy.clear()
        outcome = self._start(verb).wait()
        self.moved[verb] += self.proxy.clear().total()
        if outcome.code == 4 and edit:
            self.tally["conflicts"] += 1
            outcome = self.zygote.run(["pull", "--merge"], cwd=self.reader)
            if outcome.code not in (0, 3):
                return [f"pull --merge ends with {outcome.code}: {outcome.err}"]
        elif outcome.code:
            return [f"{verb} again ends with {outcome.code}: {outcome.err}"]
        wrong = self._status(self.reader) + [f"litter: {name}" for name in litter(self.reader)]
        if not edit:
            return wrong + final(self.reader, self.published)
        if (self.reader / edit).read_bytes() != kept:
            wrong.append(f"the edit of {edit} is lost")
        mode = bool((self.reader / edit).stat().st_mode & 0o100)
        return wrong + final(self.reader, {**self.published, edit: file(kept, executable=mode)})

    def _settled(self) -> list[str]:
        """Back to the version as published, whatever the user had done."""
        outcome = self.zygote.run(["pull", "--overwrite", "--yes"], cwd=self.reader)
        if outcome.code:
            return [f"pull --overwrite ends with {outcome.code}: {outcome.err}"]
        return final(self.reader, self.published)

    # --- the user

    def _edit(self, random: Random, root: Path, there: Tree) -> str | None:
        """Sometimes the user edits a file, or writes a new one, before the command is run again."""
        draw, number = random.random(), random.randrange(1 << 30)
        names = sorted(path for path, what in there.items() if path.startswith("data/") and what[0] == "file")
        name = random.choice(names) if draw < 0.35 else f"mine-{number}.txt"
        if draw > 0.5:
            return None
        self.tally["edits"] += 1
        write(root, {name: f"what the user wrote, {number}".encode()})
        return name

    def _undo(self, root: Path, edit: str | None) -> list[str]:
        if edit and edit.startswith("mine-"):
            (root / edit).unlink()
        return []


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    with Zygote(tmp_path / "zygote") as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[FaultProxy]:
    with FaultProxy(registry.host) as running:
        yield running


def test_killed_at_random(
    registry: Registry, proxy: FaultProxy, zygote: Zygote, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    story = Story(registry, proxy, zygote, tmp_path, SEED)
    wrong: list[str] = []
    count = rounds(ROUNDS)
    for number in range(count):
        wrong = story.round(number)
        if wrong:
            break  # the next round starts from where this one was to end
    figure(f"{count} rounds, seed {SEED}: {story.told()}; {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
    assert story.tally["kills"] >= count * 3 // 4, "too many commands ended before their moment"


# --- negative controls

NAIVE = """
import json, os, sys, urllib.request
base, root = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def ask(path):
    kind = "application/vnd.oci.image.manifest.v1+json"
    return opener.open(urllib.request.Request(base + path, headers={"Accept": kind}))
for layer in json.load(ask("manifests/latest"))["layers"]:
    title = layer["annotations"]["org.opencontainers.image.title"]
    if title.startswith(".bundle/"):
        continue
    path = os.path.join(root, title)
    if os.path.exists(path) and os.path.getsize(path) == layer["size"]:
        continue
    with open(path, "wb") as out:
        out.truncate(layer["size"])
        with ask("blobs/" + layer["digest"]) as body:
            while block := body.read(65536):
                out.write(block)
                out.flush()
"""
"""A fetcher as people write them: in place, and what has the right length is taken for whole."""


class NaiveChild:
    """It, under way."""

    def __init__(self, words: Sequence[str]) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", NAIVE, *words], stderr=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def wait(self) -> Outcome:
        _, err = self._process.communicate(timeout=120)
        return Outcome(self._process.returncode, "", err, ())


def test_the_harness_sees_what_a_naive_fetcher_does(
    registry: Registry, proxy: FaultProxy, zygote: Zygote, tmp_path: Path
) -> None:
    """Negative control: torn files after the kill, wrong ones after the rerun, and a lost edit."""
    repository = f"kills/{uuid.uuid4().hex}"
    source, root = tmp_path / "source", tmp_path / "naive"
    write(source, {"a.bin": large("new"), "b.txt": b"new text"})
    write(root, {"a.bin": b"old", "b.txt": b"old"})
    zygote.ok(["init", f"{registry.host}/{repository}"], ["add", "."], ["push", "--pack", "never"], cwd=source)
    old, new = look(root), look(source)
    words = [f"http://{proxy.host}/v2/{repository}/", str(root)]
    outcome = Killer(proxy, Moment("byte", SIZE // 2)).end(NaiveChild(words))
    assert outcome.killed, outcome
    assert standing(root, old, new) == ["torn: ['a.bin']"]
    write(root, {"b.txt": b"what the user wrote"})
    edited = {**new, "b.txt": file(b"what the user wrote")}
    assert NaiveChild(words).wait().code == 0
    assert final(root, edited) == ["wrong in the end: ['a.bin', 'b.txt']"]


def test_the_harness_sees_a_damaged_remote(
    registry: Registry, proxy: FaultProxy, zygote: Zygote, tmp_path: Path
) -> None:
    """Negative control: a blob with a wrong byte, one that is absent, and a tag that is."""
    repository = f"kills/{uuid.uuid4().hex}"
    source = tmp_path / "source"
    write(source, {"a.bin": large("new", 1_000_000), "b.txt": b"text"})
    zygote.ok(["init", f"{registry.host}/{repository}"], ["add", "."], ["push"], cwd=source)
    url = f"http://{proxy.host}"
    assert damage(url, repository, "latest") == []
    proxy.fault(Where("GET", "blob"), Flip(), at=500_000)
    assert len(damage(url, repository, "latest")) == 1
    proxy.fault(Where("GET", "blob", nth=2), Status(404))
    assert [what.partition(": ")[2][:14] for what in damage(url, repository, "latest")] == ["cannot be read"]
    assert damage(url, repository, "other") == ["no manifest other"]
    assert manifest_digest(url, repository, "other") is None
