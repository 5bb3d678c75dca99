"""Running a command and telling what it cost."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall and CPU seconds, and peak resident memory in bytes, of one process."""

    wall: float
    cpu: float
    rss: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. `ratio` is ours to the peer's, `target` the most it should be."""

    work: str
    ours: str
    peer: str
    ratio: float | None
    target: float | None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.ratio is None or self.target is None:
            return ""
        return "met" if self.ratio <= self.target else "missed"


def run(command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Run `command` and wait for it; its output is thrown away.

    :raises RuntimeError: it failed.
    """
    # A small parent forks: a child begins with the resident memory of what forked it.
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env=dict(environment or os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with {process.returncode}: {errors.decode(errors='replace')[-800:]}"
        )
    scale = 1 if sys.platform == "darwin" else 1024
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale)


def interleaved(rounds: int, *cases: Callable[[], Cost]) -> list[Cost]:
    """The median cost of each case, their runs interleaved so that noise falls on all alike."""
    costs: list[list[Cost]] = [[] for _ in cases]
    for _ in range(rounds):
        for number, case in enumerate(cases):
            costs[number].append(case())
    return [
        Cost(
            statistics.median(cost.wall for cost in each),
            statistics.median(cost.cpu for cost in each),
            max(cost.rss for cost in each),
        )
        for each in costs
    ]
