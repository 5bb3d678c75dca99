"""What one command costs, and what many of them cost in rounds: medians of the runs that others disturbed least."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

MIB = 1 << 20
EXTRA_ROUNDS = 2
"""Rounds at most to make good for disturbed runs."""
DISTURBED = 0.15
"""The share of the machine that others may use before a run counts as disturbed."""
_TICKS = os.sysconf("SC_CLK_TCK")
_LAUNCH = Path(__file__).with_name("launch.py")


class Failed(Exception):
    """A command failed, or did not do what is measured; the message says which."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took: wall and CPU seconds of the client, the peak resident bytes of its largest process, its HTTP requests,
    the bytes it sent and received (None: not counted), and the share of the machine's CPU that neither it nor our servers used.
    """

    wall: float
    cpu: float
    rss: int
    requests: int | None = None
    sent: int | None = None
    received: int | None = None
    foreign: float = 0.0

    @property
    def disturbed(self) -> bool:
        # The kernel counts in ticks of 10 ms: shares of very short runs are rounding.
        return self.foreign > DISTURBED and self.wall > 10 / _TICKS


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run to measure, its setting made already: the command, where it runs, what must hold afterwards."""

    command: Sequence[str]
    cwd: Path
    check: Callable[[], None] = lambda: None
    """Raises `Failed` when the command did not do its work."""


@dataclass(frozen=True, slots=True)
class Target:
    """The most that `quantity` (a field of `Cost`) may be, as a ratio to the reference's or by itself."""

    quantity: str
    limit: float
    relative: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """One tool at one piece of work. `prepare` makes the setting of each run afresh; it is not measured."""

    name: str
    prepare: Callable[[], Attempt]
    targets: tuple[Target, ...] = ()
    reference: bool = False
    absent: str | None = None
    """Why it cannot run here."""
    rounds: int | None = None
    """Fewer than the group's, for slow bystanders."""


@dataclass(frozen=True, slots=True)
class Group:
    """Tools side by side at the same work, their runs interleaved so that noise falls on all alike."""

    work: str
    cases: Sequence[Case]
    rounds: int = 3
    warm: bool = True
    """One run of each first that does not count."""


@dataclass(slots=True)
class Result:
    """What became of a case: the runs that count, or why there are none."""

    case: Case
    costs: list[Cost]
    failure: str = ""

    @property
    def median(self) -> Cost | None:
        return median(self.costs) if self.costs and not self.failure else None


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each quantity; of memory the most, since that is what has to fit, and of `foreign`."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        max(cost.rss for cost in costs),
        _middle(cost.requests for cost in costs),
        _middle(cost.sent for cost in costs),
        _middle(cost.received for cost in costs),
        max(cost.foreign for cost in costs),
    )


def _middle(counts: Iterable[int | None]) -> int | None:
    counted = [count for count in counts if count is not None]
    return statistics.median_low(counted) if counted else None


def quietest(costs: Sequence[Cost], count: int) -> list[Cost]:
    """The `count` runs that count: undisturbed ones first, in the order they ran, then the least disturbed."""
    return sorted(costs, key=lambda cost: cost.foreign if cost.disturbed else 0.0)[:count]


def measure(group: Group, run: Callable[[Attempt], Cost], *, quick: bool = False) -> list[Result]:
    """Run the cases of `group` in turn, round after round, with up to `EXTRA_ROUNDS` for those that were disturbed.

    :param quick: one round of each and nothing else.
    """
    results = [Result(case, [], f"absent: {case.absent}" if case.absent else "") for case in group.cases]
    wanted = {case.name: 1 if quick else (case.rounds or group.rounds) for case in group.cases}
    extra = 0 if quick else EXTRA_ROUNDS
    if group.warm and not quick:
        for result in results:
            if result.case.rounds is None:
                _once(result, run)
                result.costs.clear()
    for number in range(max(wanted.values()) + extra):
        for result in results:
            quiet = sum(not cost.disturbed for cost in result.costs)
            if quiet < wanted[result.case.name] and number < wanted[result.case.name] + extra:
                _once(result, run)
    for result in results:
        result.costs = quietest(result.costs, wanted[result.case.name])
    return results


def _once(result: Result, run: Callable[[Attempt], Cost]) -> None:
    if result.failure:
        return
    try:
        attempt = result.case.prepare()
        cost = run(attempt)
        attempt.check()
    except (Failed, OSError) as error:
        result.failure = f"failed: {error}"
    else:
        result.costs.append(cost)


def execute(command: Sequence[str], cwd: Path, environment: Mapping[str, str], limit: float = 600.0) -> Cost:
    """Run `command` and wait for it; what it prints is thrown away.

    :param limit: seconds after which it is killed.
    :raises Failed: it ended with another code than 0, with the end of what it said; or it took too long.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as errors, open(reading, "rb") as report:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), str(writing), *command],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"`{_short(command)}` took more than {limit:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        told = report.read().split()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    if len(told) != 4 or told[3] != b"0":
        code = told[3].decode() if len(told) == 4 else "no code"
        raise Failed(f"`{_short(command)}` ended with {code}: {said[-400:]}")
    scale = 1 if sys.platform == "darwin" else 1024
    return Cost(float(told[0]), float(told[1]), int(told[2]) * scale)


def watched(run: Callable[[], Cost], servers: Iterable[int]) -> Cost:
    """The cost of `run` with the share of the machine that others used meanwhile.

    :param servers: processes of ours that work for the client.
    """
    servers = list(servers)
    began, busy, own = time.perf_counter(), _busy(), _own(servers)
    cost = run()
    elapsed = time.perf_counter() - began
    others = (_busy() - busy) - (_own(servers) - own)
    return replace(cost, foreign=max(0.0, others / (elapsed * (os.cpu_count() or 1))))


def _busy() -> float:
    """CPU seconds the machine has worked since it started, time stolen from it included; 0 where it does not say."""
    try:
        numbers = [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except OSError:
        return 0.0
    return (sum(numbers) - numbers[3] - numbers[4]) / _TICKS


def _own(servers: Iterable[int]) -> float:
    """CPU seconds of this process, its ended children, and `servers`."""
    used = sum(os.times()[:4])
    for server in servers:
        try:
            fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used += (int(fields[11]) + int(fields[12])) / _TICKS
    return used


def _short(command: Sequence[str]) -> str:
    words = [Path(command[0]).name, *command[1:6]]
    return " ".join(words) + (" …" if len(command) > 6 else "")
