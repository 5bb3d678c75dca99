"""The quick way to look at a tree finds what the slow one finds, whatever was done to the tree."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import BundleError, UnsafePath
from modelops_bundle.events import Run
from modelops_bundle.plan.changes import Change, compare
from modelops_bundle.workspace import glance, index, survey
from modelops_bundle.workspace.columns import Columns
from modelops_bundle.workspace.glance import Glance
from modelops_bundle.workspace.ignore import Ignore
from modelops_bundle.workspace.index import Index
from modelops_bundle.workspace.survey import State, Surveyor

NAMES = ["a", "b", "a.b", "B", "z.log", "é", "日本", "x-y", "a b"]
IGNORED = b"*.log\nskip/\n"


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of waiting until files are older than a clock tick; every edit here changes more than a time stamp."""
    monkeypatch.setattr(index, "settled", lambda key, taken: True)


class Worked:
    """A directory somebody works in, and the paths that are tracked in it."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.size = 0
        self.tracked: set[str] = set()
        self.follow: frozenset[str] = frozenset()
        (root / ".modelopsignore").write_bytes(IGNORED)
        (root / "outside-of-nothing").mkdir()
        for _ in range(25):
            with suppress(OSError):
                self.new_file()
        self.tracked |= {path for path in self.files() if self.random.random() < 0.9}
        self.edits: list[Callable[[], None]] = [
            self.new_file,
            self.write,
            self.write,
            self.chmod,
            self.delete,
            self.rename,
            self.rename_directory,
            self.to_directory,
            self.to_file,
            self.to_link,
            self.retarget,
            self.follow_link,
            self.track,
            self.untrack,
            self.track_empty,
            self.empty_directory,
            self.ignore,
            self.move_behind_link,
            self.respell,
            self.twin,
            self.temporary,
        ]

    def files(self) -> list[str]:
        found = []
        for directory, _, names in os.walk(self.root):
            above = os.path.relpath(directory, self.root)
            found += [normalize("NFC", os.path.normpath(f"{above}/{name}")) for name in names]
        return sorted(found)

    def directories(self) -> list[str]:
        found = [os.path.relpath(directory, self.root) for directory, _, _ in os.walk(self.root)]
        return sorted(path for path in found if path != ".")

    def pick(self, paths: list[str]) -> str:
        return self.random.choice(paths) if paths else "nothing"

    def at(self, path: str) -> Path:
        return self.root / path

    def content(self) -> bytes:
        self.size += 1
        return b"x" * self.size

    def name(self) -> str:
        return self.random.choice(NAMES)

    # What is done.

    def new_file(self) -> None:
        parts = [self.name() for _ in range(self.random.randrange(3))]
        directory = self.root.joinpath(*[self.random.choice(["d", "e", "skip", part]) for part in parts])
        directory.mkdir(parents=True, exist_ok=True)
        (directory / self.name()).write_bytes(self.content())

    def write(self) -> None:
        self.at(self.pick(self.files())).write_bytes(self.content())

    def chmod(self) -> None:
        path = self.at(self.pick(self.files()))
        path.chmod(path.stat().st_mode ^ 0o100)

    def delete(self) -> None:
        self.at(self.pick(self.files())).unlink()

    def rename(self) -> None:
        path = self.at(self.pick(self.files()))
        path.rename(path.with_name(self.name()))

    def rename_directory(self) -> None:
        path = self.at(self.pick(self.directories()))
        path.rename(path.with_name(self.name()))

    def to_directory(self) -> None:
        path = self.at(self.pick(self.files()))
        path.unlink()
        path.mkdir()
        if self.random.random() < 0.5:
            (path / self.name()).write_bytes(self.content())

    def to_file(self) -> None:
        path = self.at(self.pick(self.directories()))
        shutil.rmtree(path)
        path.write_bytes(self.content())

    def to_link(self) -> None:
        path = self.at(self.pick(self.files()))
        path.unlink()
        path.symlink_to(self.name())

    def retarget(self) -> None:
        links = [path for path in self.files() if self.at(path).is_symlink()]
        path = self.at(self.pick(links))
        path.unlink()
        path.symlink_to("y" * self.random.randrange(1, 30))

    def follow_link(self) -> None:
        path = self.pick([path for path in sorted(self.tracked) if self.at(path).is_file()])
        target = self.pick([path for path in self.files() if not self.at(path).is_symlink()])
        self.at(path).unlink()
        self.at(path).symlink_to(self.at(target))
        self.follow |= {path}

    def track(self) -> None:
        self.tracked |= {path for path in self.files() if self.random.random() < 0.2}

    def untrack(self) -> None:
        self.tracked = {path for path in self.tracked if self.random.random() < 0.9}

    def track_empty(self) -> None:
        self.tracked |= {path for path in self.directories() if not os.listdir(self.at(path))}

    def empty_directory(self) -> None:
        self.at(f"{self.pick(self.directories())}/{self.name()}").mkdir()

    def ignore(self) -> None:
        self.at(".modelopsignore").write_bytes(self.random.choice([IGNORED, b"d/\n", b"*\n!a\n", b""]))

    def move_behind_link(self) -> None:
        path = self.at(self.pick(self.directories()))
        away = self.root / f"outside-of-nothing/{self.size}{path.name}"
        path.rename(away)
        path.symlink_to(away)

    def respell(self) -> None:
        odd = [path for path in (*self.files(), *self.directories()) if normalize("NFD", path) != path]
        path = self.at(self.pick(odd))
        path.rename(path.with_name(normalize("NFD", path.name)))

    def twin(self) -> None:
        path = self.at(self.pick([path for path in self.files() if normalize("NFD", path) != path]))
        path.with_name(normalize("NFD", path.name)).write_bytes(self.content())

    def temporary(self) -> None:
        self.at(f"{self.pick(self.directories())}/.~bundle-{self.size}").write_bytes(self.content())

    def edit(self) -> None:
        # There may be nothing to do that to, just now.
        with suppress(OSError):
            self.random.choice(self.edits)()

    def lines(self) -> bytes:
        return b"".join(path.encode() + b"\n" for path in sorted(self.tracked, key=str.encode))

    def look(self, cache: Index) -> tuple[Any, ...]:
        """Everything that a command can learn from a survey; the message where it is refused."""
        try:
            state, untracked = self.survey(cache)
        except BundleError as error:
            return (str(error),)
        return (dict(state.snapshot), dict(state.keys), state.size, sorted(untracked))

    def survey(self, cache: Index) -> tuple[State, list[str]]:
        with Tree(self.root, self.follow) as tree:
            surveyor = Surveyor(tree, cache, Run(), follow=self.follow, strict=False)
            surveyor.begin(self.lines())
            state, walk = surveyor.survey(Ignore(self._rules))
            return state, list(walk.untracked)

    def _rules(self, path: str) -> bytes | None:
        file = self.root / path
        return file.read_bytes() if file.is_file() else None


def differences(state: State, base: Columns) -> tuple[Change, ...]:
    old, new = state.against(base)
    return compare(old, new, old)


def journey(root: Path, seed: int, steps: int = 12) -> tuple[int, int]:
    """Work and look: how often the two ways disagreed, and how many paths the quick one could confirm."""
    (root / "work").mkdir()
    work = Worked(root / "work", seed)
    state, _ = work.survey(Index(root / "cache"))
    base = state.snapshot
    wrong = confirmed = 0
    for step in range(steps):
        for _ in range(work.random.randrange(3)):
            work.edit()
        slow = work.look(Index(root / f"none{step}"))
        wrong += work.look(Index(root / "cache")) != slow
        if len(slow) == 1:
            break
        state, _ = work.survey(Index(root / "cache"))
        confirmed += len(state.columns) - len(state.changes)
        wrong += differences(state, Columns.of(base)) != compare(base, state.snapshot, base)
    return wrong, confirmed


@pytest.mark.parametrize("helped", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_both_ways_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, helped: bool) -> None:
    monkeypatch.setattr(glance, "FORK_FROM", 0 if helped else 1 << 60)
    wrong, _ = journey(tmp_path, seed)
    assert wrong == 0


def test_the_quick_way_is_taken(tmp_path: Path) -> None:
    assert journey(tmp_path, 1, steps=6)[1] > 40


def test_control_a_glance_at_names_alone_misses_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "_SEEN", ())
    monkeypatch.setattr(Glance, "_stamps_match", lambda *_: True)
    found = 0
    for seed in range(5):
        (tmp_path / str(seed)).mkdir()
        found += journey(tmp_path / str(seed), seed)[0]
    assert found > 0


def test_what_moved_behind_a_link_is_gone_although_each_file_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    work = Worked(tmp_path / "work", 1)
    work.survey(Index(tmp_path / "cache"))
    directory = next(path for path in work.directories() if any(t.startswith(f"{path}/") for t in work.tracked))
    work.at(directory).rename(tmp_path / "away")
    work.at(directory).symlink_to(tmp_path / "away")
    state, _ = work.survey(Index(tmp_path / "cache"))
    assert not any(path.startswith(f"{directory}/") for path in state.snapshot)


def test_an_unchanged_tree_makes_no_objects_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    work = Worked(tmp_path / "work", 3)
    first, _ = work.survey(Index(tmp_path / "cache"))
    written = (tmp_path / "cache").stat()
    monkeypatch.setattr(survey, "role_of", lambda *_: pytest.fail("an entry was made"))
    state, _ = work.survey(Index(tmp_path / "cache"))
    assert (state.changes, len(state.columns)) == ({}, len(first.snapshot))
    assert (tmp_path / "cache").stat() == written


def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    work = Worked(tmp_path / "work", 4)
    work.survey(Index(tmp_path / "cache"))
    path = sorted(work.tracked)[0]
    work.at(path).unlink()
    os.mkfifo(work.at(path))
    with pytest.raises(UnsafePath):
        work.survey(Index(tmp_path / "cache"))
