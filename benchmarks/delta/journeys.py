"""What each tool does with an edit: the first version goes there and back, then the changed one is measured."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import trees
from benchmarks.delta import xet
from benchmarks.delta.counter import Counted
from benchmarks.measure import Cost, Failed, execute
from benchmarks.scene import BUNDLE, ORAS_PUSH
from benchmarks.world import World

V1, V2 = "v1", "v2"
_LIMIT = 1800.0


@dataclass(frozen=True, slots=True)
class Version:
    """Files of one version, and their SHA-256 when they were made."""

    folder: Path
    digests: Mapping[str, str]

    @property
    def size(self) -> int:
        return trees.size(self.folder)

    @property
    def names(self) -> list[str]:
        return sorted(self.digests)


def version(folder: Path) -> Version:
    """The files that are in `folder` now."""
    return Version(folder, {name: digest(folder / name) for name in trees.names(folder)})


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expect(wanted: Version, folder: Path, *, only: bool = True) -> None:
    """Every file of `wanted` is in `folder`, bit for bit; `only`: and nothing else.

    :raises Failed: something differs.
    """
    if only and trees.names(folder) != wanted.names:
        raise Failed(f"{', '.join(trees.names(folder)) or 'nothing'} instead of {', '.join(wanted.names)}")
    for name, digest_ in wanted.digests.items():
        if not (folder / name).is_file():
            raise Failed(f"{name} did not come back")
        if digest(folder / name) != digest_:
            raise Failed(f"{name} came back with other bytes")


class Journeys:
    """One edit: `before` (None: nothing was there) becomes `after`. Every journey has a repository of its own.

    The one who pushes and the one who pulls have homes of their own, new for each journey: neither finds in a cache what
    the other, or the journey before, has done.
    """

    def __init__(self, world: World, way: Counted, before: Version | None, after: Version) -> None:
        self._world, self._way = world, way
        self._before, self._after = before, after

    # What is measured, in the order of names

    def oras(self) -> Iterator[Cost]:
        """`oras push`, and `oras pull` where the first version is."""
        there, here = self._person(), self._person()
        reference, target = f"{self._way.host}/{self._world.fresh('oras')}", self._world.place("oras")
        if self._before:
            there([*ORAS_PUSH, f"{reference}:{V1}", *self._before.names], self._before.folder)
            here(["oras", "pull", "--plain-http", f"{reference}:{V1}", "-o", str(target)], self._world.trees)
        yield there([*ORAS_PUSH, f"{reference}:{V2}", *self._after.names], self._after.folder)
        cost = here(["oras", "pull", "--plain-http", f"{reference}:{V2}", "-o", str(target)], self._world.trees)
        # It deletes nothing.
        expect(self._after, target, only=False)
        yield cost
        self._world.drop(target)

    def xet(self) -> Iterator[Cost]:
        """hf-xet: what a session adds to the store, counted as sent: chunks first, then with the lists of them."""
        person = self._person()
        store, record, target = (self._world.place(stem) for stem in ("store", "record", "xet"))
        store.mkdir()
        target.mkdir()
        program = [sys.executable, "-m", "benchmarks.delta.xet"]
        if self._before:
            person([*program, "push", str(store), str(record), *self._before.names], self._before.folder)
        held = xet.stored(store)
        cost = person([*program, "push", str(store), str(record), *self._after.names], self._after.folder)
        new = xet.stored(store).since(held)
        person([*program, "pull", str(store), str(record)], target)
        expect(self._after, target)
        yield replace(cost, sent=new.xorbs, requests=None, received=None)
        yield replace(cost, sent=new.together, requests=None, received=None)
        self._world.drop(store, target)

    def delta(self, *options: str) -> Iterator[Cost]:
        """`bundle push --delta`, `bundle pull` into the first version, `bundle clone`."""
        yield from self._ours("--delta", *options)

    def xor(self) -> Iterator[Cost]:
        """The same with the first version as base, of which the one who pushes has a copy."""
        assert self._before is not None
        yield from self._ours("--delta", "--xor-base", str(self._before.folder))

    def plain(self) -> Iterator[Cost]:
        """The same pushed whole."""
        yield from self._ours("--plain")

    def _ours(self, *options: str) -> Iterator[Cost]:
        there, here = self._person(), self._person()
        reference = f"{self._way.host}/{self._world.fresh('ours')}"
        tree, clone, fresh = (self._world.place(stem) for stem in ("tree", "clone", "fresh"))
        tree.mkdir()
        there([BUNDLE, "-q", "init", reference], tree)
        if self._before:
            _show(self._before, tree)
            there([BUNDLE, "-q", "add", "."], tree)
            there([BUNDLE, "-q", "push", "--plain", "--tag", V1], tree)
            here([BUNDLE, "-q", "clone", f"{reference}:{V1}", str(clone)], self._world.trees)
            gone = sorted(set(self._before.names) - set(self._after.names))
            if gone:
                there([BUNDLE, "-q", "rm", "--delete", *gone], tree)
        _show(self._after, tree)
        there([BUNDLE, "-q", "add", "."], tree)
        yield there([BUNDLE, "push", *options, "--tag", V2], tree)
        if self._before:
            cost = here([BUNDLE, "-C", str(clone), "pull", f"{reference}:{V2}"], self._world.trees)
            expect(self._after, clone)
            yield cost
            self._world.drop(clone)
        stranger = self._person()
        cost = stranger([BUNDLE, "clone", f"{reference}:{V2}", str(fresh)], self._world.trees)
        expect(self._after, fresh)
        yield cost
        self._world.drop(tree, fresh)

    def _person(self) -> Callable[[list[str], Path], Cost]:
        """Somebody with a new home."""
        home = self._world.place("home")
        variables = {
            "HOME": "",
            "XDG_CONFIG_HOME": "config",
            "XDG_CACHE_HOME": "cache",
            "XDG_STATE_HOME": "state",
            "XDG_DATA_HOME": "data",
            "XDG_RUNTIME_DIR": "run",
            "DOCKER_CONFIG": "docker",
            "HF_HOME": "hf",
        }
        for name in variables.values():
            (home / name).mkdir(parents=True, exist_ok=True)
        environment = self._world.environment | {name: str(home / folder) for name, folder in variables.items()}
        return partial(self._run, environment)

    def _run(self, environment: Mapping[str, str], command: list[str], cwd: Path) -> Cost:
        before = self._way.totals()
        cost = execute(command, cwd, environment, _LIMIT)
        requests, sent, received = (after - first for after, first in zip(self._way.totals(), before, strict=True))
        return replace(cost, requests=requests, sent=sent, received=received)


def _show(wanted: Version, tree: Path) -> None:
    """Put the files of `wanted` into `tree` as other files than those that are there; as links, which cost nothing."""
    for name in wanted.names:
        (tree / name).unlink(missing_ok=True)
        os.link(wanted.folder / name, tree / name)
