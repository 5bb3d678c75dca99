"""Where everything is measured: folders of its own, a user nobody is, the registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.measure import Attempt, Cost, Group, Result, execute, measure, watched
from benchmarks.servers import Link, Registry, link

ROOT = Path(__file__).resolve().parent.parent
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SystemRoot")

_DROPPED = "dropped"
_MANY = 500
"""Files of a directory that is not deleted at once."""


class World:
    """One run of the benchmarks.

    :param trees: an empty folder for what is pushed and pulled.
    :param storage: an empty folder for the registry's content.
    :param quick: one round, an eighth of the bytes and files.
    """

    def __init__(self, trees: Path, storage: Path, *, quick: bool = False) -> None:
        self.trees, self.quick = trees, quick
        self._storage = storage
        self._numbers = count(1)
        self._registry: Registry | None = None
        self._links: list[Link] = []
        home = trees / "home"
        self.environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "DOCKER_CONFIG": str(home / "docker"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONPATH": str(ROOT),
        }
        for name in ("config", "cache", "state", "data", "run", "docker"):
            (home / name).mkdir(parents=True)

    @property
    def registry(self) -> Registry:
        """The registry, started when it is first asked for.

        :raises Failed: there is none on this machine.
        """
        if self._registry is None:
            self._registry = Registry(self._storage)
        return self._registry

    def stop(self) -> None:
        """End what was started, and delete what was dropped."""
        if self._registry is not None:
            self._registry.stop()
        shutil.rmtree(self.trees / _DROPPED, ignore_errors=True)

    def clear(self) -> None:
        """Delete all trees and everything in the registry."""
        self.drop(*(path for path in self.trees.iterdir() if path.name not in ("home", _DROPPED)))
        if self._registry is not None:
            self._registry.wipe()

    @contextmanager
    def link(self, *, delay: float = 0.0, rate: float | None = None) -> Iterator[Link]:
        """A slow link to the registry."""
        with link(self.registry.port, delay=delay, rate=rate) as slow:
            self._links.append(slow)
            try:
                yield slow
            finally:
                self._links.remove(slow)

    def scaled(self, number: int) -> int:
        """`number`, or its eighth in a quick run."""
        return number // 8 if self.quick else number

    def fresh(self, stem: str) -> str:
        """A name nobody has used: of a repository, of a folder."""
        return f"{stem}-{next(self._numbers)}"

    def place(self, stem: str) -> Path:
        """A path in the trees' folder where nothing is."""
        return self.trees / self.fresh(stem)

    def drop(self, *paths: Path) -> None:
        """Take directories away: small ones at once, those of many files when all is measured.

        ext4 gives no inode out again for a minute or more after it was freed, and looks for others one by one: every
        file that is made in that time costs a hundred times what it should.
        """
        for path in paths:
            if sum(len(files) for _, _, files in os.walk(path)) <= _MANY:
                shutil.rmtree(path, ignore_errors=True)
            else:
                (self.trees / _DROPPED).mkdir(exist_ok=True)
                path.rename(self.trees / _DROPPED / self.fresh("tree"))

    def do(self, command: Sequence[str], cwd: Path) -> None:
        """Run what is not measured.

        :raises Failed: it failed.
        """
        execute(command, cwd, self.environment)

    def output(self, command: Sequence[str]) -> str:
        """What a command prints, standard error included; nothing when it cannot run."""
        try:
            result = subprocess.run(
                command, env=self.environment, cwd=self.trees, capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return result.stdout + result.stderr

    def run(self, attempt: Attempt) -> Cost:
        """Run what is measured: nothing of the setting's waits for the disk any more, and requests are counted.

        :raises Failed: it failed.
        """
        os.sync()
        running = partial(execute, attempt.command, attempt.cwd, self.environment)
        if self._registry is None:
            return watched(running, ())
        answered, carried = self._registry.requests(), self._carried()
        cost = watched(running, [self._registry.pid, *(slow.pid for slow in self._links)])
        cost = replace(cost, requests=self._registry.requests() - answered)
        if not self._links:
            return cost
        sent, received = (after - before for after, before in zip(self._carried(), carried, strict=True))
        return replace(cost, sent=sent, received=received)

    def _carried(self) -> tuple[int, int]:
        each = [slow.carried() for slow in self._links]
        return sum(up for up, _ in each), sum(down for _, down in each)

    def measure(self, group: Group) -> list[Result]:
        """Measure a group, telling what it is at on standard error."""
        print(f"  {group.work}", file=sys.stderr, flush=True)
        return measure(group, self.run, quick=self.quick)

    def hide(self, text: str) -> str:
        """`text` without the paths of this machine."""
        for path, name in ((self.trees, "TREES"), (self._storage, "STORAGE"), (ROOT, "."), (Path.home(), "~")):
            text = text.replace(str(path), name)
        return text
