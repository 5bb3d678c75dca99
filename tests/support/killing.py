"""Kills commands at a byte or at a request that a proxy sees, and says what must hold then."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from tests.support.fault_proxy import Call, Counts, FaultProxy, Where
from tests.support.worlds import Tree, look, torn
from tests.support.zygote import Outcome


class Child(Protocol):
    """A command under way."""

    pid: int

    def wait(self) -> Outcome: ...


@dataclass(frozen=True)
class Moment:
    """When to kill: at a byte of all that goes through, or at a request: before it goes on, or when it is answered."""

    kind: str
    at: int
    answered: bool = False
    drop: bool = False
    """What was under way at that moment gets lost too; else it still arrives."""

    def __str__(self) -> str:
        what = f"{self.kind} {self.at}"
        return what + " answered" * self.answered + ", the rest lost" * self.drop


def moments(random: Random, bytes_: int, requests: int) -> Moment:
    """Half of the kills in the bytes, the others at requests, some of those at the last, where tags move."""
    drop = random.random() < 0.5
    draw = random.random()
    if draw < 0.5:
        return Moment("byte", random.randrange(bytes_), drop=drop)
    first = 1 if draw < 0.8 else max(1, requests - 4)
    return Moment("request", random.randint(first, requests), random.random() < 0.5, drop)


class Killer:
    """Kills a process at a moment that a proxy sees."""

    def __init__(self, proxy: FaultProxy, moment: Moment) -> None:
        self._proxy = proxy
        self._drop = moment.drop
        self._known = threading.Event()
        self._pid = 0
        self.counts = Counts()
        """What went through."""
        action = Call(self._strike, after=moment.answered)
        if moment.kind == "byte":
            proxy.fault(Where(), action, at=moment.at, towards="both")
        else:
            proxy.fault(Where(nth=moment.at), action)

    def end(self, child: Child) -> Outcome:
        """Its outcome, whether killed or not; nothing of it is under way any more."""
        self._pid = child.pid
        self._known.set()
        outcome = child.wait()
        self._proxy.settle()
        self.counts = self._proxy.clear()
        return outcome

    def _strike(self) -> None:
        assert self._known.wait(60)
        os.kill(self._pid, 9)
        if self._drop:
            self._proxy.drop()


# --- what must hold


def standing(root: Path, old: Tree, new: Tree) -> list[str]:
    """What is wrong with a tree after a kill."""
    wrong = torn(look(root) if root.exists() else {}, old, new)
    return [f"torn: {wrong}"] if wrong else []


def final(root: Path, expected: Tree) -> list[str]:
    """What is wrong with a tree in the end."""
    now = look(root)
    different = [path for path in sorted(now.keys() | expected.keys()) if now.get(path) != expected.get(path)]
    return [f"wrong in the end: {different}"] if different else []
