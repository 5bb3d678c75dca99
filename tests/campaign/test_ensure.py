"""`ensure` killed at every step, without room and beside `cache prune`: the directory is wholly the old or wholly the new
version, the same command again ends well, and nothing of somebody else is ever lost.

Facts: reliability §6. Every moment with BUNDLE_CAMPAIGN=1, a sample with a fixed seed otherwise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from modelops_bundle.transfer.ensured import FOLDER
from modelops_bundle.transfer.switch import Site
from tests.support.campaign import rounds
from tests.support.worlds import Tree, file, litter, look, write, write_first, write_many, write_second
from tests.support.zygote import Outcome, Trap, Zygote

SEED = 20_251_120
ROUNDS = 200


def version(root: Path) -> Tree:
    """What is in a directory, but for our record."""
    if not root.exists():
        return {}
    return {path: what for path, what in look(root).items() if path.partition("/")[0] != FOLDER}


class Stage(NamedTuple):
    """Two versions in a layout, and a zygote to run commands in."""

    base: Path
    zygote: Zygote
    versions: dict[str, Tree]

    @property
    def dest(self) -> Path:
        return self.base / "place" / "dest"

    @property
    def cache(self) -> Path:
        return Path(os.environ["XDG_CACHE_HOME"]) / "modelops-bundle"

    def words(self, tag: str, *more: str) -> list[str]:
        return ["ensure", f"layout:{self.base}/remote:{tag}", "--dest", str(self.dest), *more]

    def ensure(self, tag: str, *more: str, trap: Trap | None = None, prepare: str = "") -> Outcome:
        return self.zygote.run(self.words(tag, *more), cwd=self.base, trap=trap, prepare=prepare)

    def clear(self) -> None:
        shutil.rmtree(self.base / "place", ignore_errors=True)
        shutil.rmtree(self.cache, ignore_errors=True)


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    with Zygote(tmp_path / "zygote") as running:
        yield running


@pytest.fixture
def stage(zygote: Zygote, tmp_path: Path) -> Stage:
    author = tmp_path / "author"
    author.mkdir()
    versions = {}
    for tag, make, text in (("v1", write_first, "one"), ("v2", write_second, "two")):
        make(author)
        write_many(author, text)
        remote = [["init", f"layout:{tmp_path}/remote"]] if tag == "v1" else []
        zygote.ok(*remote, ["add", "."], ["push", "--tag", tag, "--pack", "always", "--yes"], cwd=author)
        versions[tag] = look(author)
    return Stage(tmp_path, zygote, versions)


class Case(NamedTuple):
    """What stands in the directory before, the command, and what must stand there afterwards."""

    name: str
    before: tuple[str, ...]
    tag: str
    words: tuple[str, ...] = ()
    mine: bool = False
    warm: bool = False


CASES = (
    Case("first", (), "v1"),
    Case("update", ("v1",), "v2"),
    Case("update, cached", ("v2", "v1"), "v2", warm=True),
    Case("update without a cache", ("v1",), "v2", ("--no-cache",)),
    Case("update by links", ("v1",), "v2", ("--link",)),
    Case("mirror", ("v1",), "v2", ("--mirror",), mine=True),
    Case("keep previous", ("v1",), "v2", ("--keep-previous",)),
    Case("back to the kept one", ("v2", "v1"), "v2", ("--keep-previous",), warm=True),
)
MINE: dict[str, bytes | str | None] = {
    "mine.txt": b"mine",
    "own/deep/er.txt": b"mine, too",
    "d/beside.txt": b"beside what goes",
    ".git/config": b"[core]",
}


class Trials:
    """One case, again and again from the same state."""

    def __init__(self, stage: Stage, case: Case) -> None:
        self.stage = stage
        self.case = case
        self.saved = stage.base / "saved"
        self.mine: Tree = {}
        stage.clear()
        (stage.base / "place").mkdir()
        for tag in case.before:
            more = ("--keep-previous",) if "keep" in case.name or "kept" in case.name else ()
            assert stage.ensure(tag, *more).code == 0
        if case.mine:
            write(stage.dest, MINE)
            self.mine = {path: file(data) for path, data in MINE.items() if isinstance(data, bytes)}
        shutil.rmtree(self.saved, ignore_errors=True)
        shutil.copytree(stage.base / "place", self.saved / "place", symlinks=True)
        if stage.cache.exists():
            shutil.copytree(stage.cache, self.saved / "cache", symlinks=True)
        self.old = version(stage.dest)
        self.new = {**stage.versions[case.tag], **self.mine}

    def reset(self) -> None:
        self.stage.clear()
        shutil.copytree(self.saved / "place", self.stage.base / "place", symlinks=True)
        if (self.saved / "cache").exists():
            shutil.copytree(self.saved / "cache", self.stage.cache, symlinks=True)

    def moments(self, on: str) -> int:
        self.reset()
        trap = Trap(on="syscall") if on == "syscall" else Trap()
        outcome = self.stage.ensure(self.case.tag, *self.case.words, trap=trap)
        assert outcome.code == 0, outcome
        assert version(self.stage.dest) == self.new
        return len(outcome.moments)

    def trial(self, trap: Trap, prepare: str = "") -> list[str]:
        """What went wrong when the command was stopped at a moment."""
        self.reset()
        outcome = self.stage.ensure(self.case.tag, *self.case.words, trap=trap, prepare=prepare)
        wrong = self._standing(outcome)
        if outcome.code not in (0, -9, 11):
            wrong.append(f"ended with {outcome.code}: {outcome.err}")
        again = self.stage.ensure(self.case.tag, *self.case.words)
        if again.code:
            wrong.append(f"again ends with {again.code}: {again.err}")
        if version(self.stage.dest) != self.new:
            wrong.append("wrong in the end")
        place = self.stage.base / "place"
        wrong += [f"litter: {name}" for name in litter(place)]
        wrong += [f"saved: {path.name}" for path in place.iterdir() if ".saved-" in path.name]
        return [f"{self.case.name}, {trap.on} {trap.at} ({trap.action}): {what}" for what in wrong]

    def _standing(self, outcome: Outcome) -> list[str]:
        """What is wrong right after it: a mixture of versions, or files of somebody else that are nowhere."""
        dest = self.stage.dest
        now = version(dest)
        theirs = {path: what for path, what in now.items() if path not in self.mine and not path.startswith(".git")}
        versions = [
            {path: what for path, what in tree.items() if path not in self.mine} for tree in (self.old, self.new)
        ]
        wrong = [] if theirs in versions else [f"neither old nor new: {sorted(theirs)}"]
        if not theirs and self.old:
            wrong.append("nothing is there")
        aside = version(Site(dest).old) | version(Site(dest).new)
        lost = [path for path, what in self.mine.items() if what not in (now.get(path), aside.get(path))]
        return wrong + ([f"lost: {lost}"] if lost else [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_killed_at_every_step(case: Case, stage: Stage, figure: Callable[[str], None]) -> None:
    trials, random = Trials(stage, case), Random(f"{SEED}/{case.name}")
    tried = 0
    for on in ("checkpoint", "syscall"):
        total = trials.moments(on)
        wanted = min(total, max(4, rounds(ROUNDS // 2)))
        for at in sorted(random.sample(range(1, total + 1), wanted)):
            trap = Trap(on="syscall", at=at) if on == "syscall" else Trap(at=at)
            assert trials.trial(trap) == []
            tried += 1
    figure(f"{tried} kills of ensure ({case.name}), seed {SEED}: 0 wrong")


def without_exchange() -> None:
    """A system that cannot exchange two names."""
    from modelops_bundle.transfer import switch

    switch.exchange = lambda *_: False  # type: ignore[assignment]


def test_killed_where_names_cannot_be_exchanged(stage: Stage) -> None:
    """Then nothing has the name for a moment; the next run gives it back before it does anything else."""
    trials = Trials(stage, CASES[1])
    for name in ("tree ready", "old away", "switched", "retiring"):
        trials.reset()
        outcome = stage.ensure("v2", trap=Trap(at=1, named=name), prepare=f"{__name__}:without_exchange")
        assert outcome.killed, name
        assert version(stage.dest) in ({}, trials.old, trials.new)
        assert stage.ensure("v1").code == 0
        assert version(stage.dest) == trials.old
        assert litter(stage.base / "place") == []


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_disk_that_refuses_leaves_the_old_version(error: str, stage: Stage) -> None:
    trials, random = Trials(stage, CASES[1]), Random(f"{SEED}/{error}")
    total = trials.moments("syscall")
    for at in sorted(random.sample(range(1, total + 1), min(total, max(6, rounds(ROUNDS))))):
        assert trials.trial(Trap(on="syscall", at=at, action=error)) == []


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
@pytest.mark.parametrize("word", ["", "--no-cache"])
def test_no_room(word: str, stage: Stage, tmp_path: Path) -> None:
    place = stage.base / "place"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5M", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        words = [word] if word else []
        assert stage.ensure("v1", *words).code == 0
        write(place, {"filler": os.urandom(1_800_000)})
        outcome = stage.ensure("v2", *words)
        assert outcome.code == 11, outcome
        assert version(stage.dest) == stage.versions["v1"]
        (place / "filler").unlink()
        assert stage.ensure("v2", *words).code == 0
        assert version(stage.dest) == stage.versions["v2"]
        assert litter(place) == []
    finally:
        subprocess.run(["umount", place], check=True)


def test_prune_beside_ensure(stage: Stage, figure: Callable[[str], None]) -> None:
    """Whatever is removed when: each directory gets its version, and the cache stays usable."""
    stage.clear()
    count = max(4, rounds(ROUNDS))
    for number in range(count):
        tag = f"v{number % 2 + 1}"
        pruning = stage.zygote.start(["cache", "prune", "--max-size", "0"], cwd=stage.base)
        ensuring = stage.zygote.start(stage.words(tag), cwd=stage.base)
        assert pruning.wait().code == 0
        assert ensuring.wait().code == 0
        assert version(stage.dest) == stage.versions[tag]
    figure(f"{count} times ensure beside cache prune: 0 wrong")


def test_prune_killed_at_every_step(stage: Stage) -> None:
    words = ["cache", "prune", "--max-size", "0"]
    assert stage.ensure("v1").code == 0
    total = len(stage.zygote.run(words, cwd=stage.base, trap=Trap()).moments)
    assert total > 3
    for at in range(1, total + 1):
        stage.clear()
        assert stage.ensure("v1").code == 0
        assert stage.zygote.run(words, cwd=stage.base, trap=Trap(at=at)).killed
        assert stage.ensure("v1").code == 0
        assert stage.ensure("v2").code == 0
        assert version(stage.dest) == stage.versions["v2"]
        stage.zygote.ok(words, cwd=stage.base)
        assert list((stage.cache / "blobs/sha256").iterdir()) == []


def one_by_one() -> None:
    """Negative control: files of the new tree replace those of the old one one by one."""
    from modelops_bundle.events import checkpoint

    def switch(self: Site) -> bool:
        for path in sorted(self.new.rglob("*"), key=lambda each: len(each.parts)):
            target = self.place / path.relative_to(self.new)
            if path.is_dir() and not path.is_symlink():
                if target.is_file():
                    target.unlink()
                target.mkdir(parents=True, exist_ok=True)
                continue
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            os.replace(path, target)
            checkpoint("replaced one")
        shutil.rmtree(self.new)
        return False

    Site.switch = switch  # type: ignore[method-assign]


def test_the_harness_sees_a_mixture(stage: Stage) -> None:
    trials = Trials(stage, CASES[1])
    wrong = trials.trial(Trap(at=3, named="replaced one"), prepare=f"{__name__}:one_by_one")
    assert "neither old nor new" in wrong[0]
