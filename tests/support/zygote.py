"""Runs commands of ours in forked children that a trap may kill, hinder or hold at a chosen moment.

A fresh, single-threaded process imports everything once and forks for each run: some 10 ms a trial instead of 300, and no
thread of pytest is ever forked. Moments are counted from 1, in two ways: `checkpoint` (the product's own marks) and
`syscall` (every call that changes the disk, just before it happens; of a `write` that dies, half arrives).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from tests.support.tree import PACKAGE, ROOT

Moment = Literal["checkpoint", "syscall"]

SPACE = ("open", "write", "mkdir", "symlink", "copy_file_range", "ftruncate")
"""Calls that a full disk refuses."""
CHANGING = (*SPACE, "fsync", "fdatasync", "rename", "replace", "rmdir", "unlink", "chmod", "fchmod", "link")
"""Calls that change the disk."""
READING = ("read", "readv", "pread", "scandir", "listdir", "readlink", "stat", "lstat", "fstat")
"""Calls that look at it."""


@dataclass(frozen=True)
class Trap:
    """What happens at the moment number `at` (0: nothing, moments are only counted).

    `action` is `kill` (SIGKILL), `hold` (say so through the FIFO `told`, go on once the file `gate` is unlocked), or the
    name of an errno, raised once, or from there on when it `lasts`. `only` narrows system calls down to some, `named`
    counts only the moments of this name.
    """

    on: Moment = "checkpoint"
    at: int = 0
    action: str = "kill"
    lasts: bool = False
    only: tuple[str, ...] = CHANGING
    told: str = ""
    gate: str = ""
    named: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: exit code (negative: the signal that killed it), what it said, and the moments it passed."""

    code: int
    out: str
    err: str
    moments: tuple[str, ...]

    @property
    def killed(self) -> bool:
        """Whether the trap killed it."""
        return self.code == -signal.SIGKILL

    def json(self) -> Any:
        """The document on stdout."""
        return json.loads(self.out)


class Child:
    """A run under way."""

    def __init__(self, zygote: Zygote, pid: int, folder: Path) -> None:
        self._zygote = zygote
        self.pid = pid
        self._folder = folder

    def wait(self) -> Outcome:
        """Its outcome, once it ended."""
        code = self._zygote.ask({"wait": self.pid})["code"]
        texts = [(self._folder / name).read_text(errors="replace") for name in ("out", "err", "moments")]
        return Outcome(code, texts[0], texts[1], tuple(texts[2].splitlines()))


class Zygote:
    """The process that forks. Use it as a context manager, from one thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One line there, one line back."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def start(
        self, *commands: Sequence[str], cwd: Path, trap: Trap | None = None, prepare: str = "", gate: str = ""
    ) -> Child:
        """Begin to run command lines (without `bundle`), one after the other in one process, while they succeed.

        :param prepare: `module:function`, called in the child first: for negative controls.
        :param gate: a file to wait for: the child begins once it is unlocked.
        """
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        request = {
            "commands": [[str(word) for word in command] for command in commands],
            "cwd": str(cwd),
            "trap": asdict(trap) if trap else None,
            "prepare": prepare,
            "gate": gate,
            "folder": str(folder),
        }
        return Child(self, self.ask(request)["pid"], folder)

    def run(self, *commands: Sequence[str], cwd: Path, trap: Trap | None = None, prepare: str = "") -> Outcome:
        """Run command lines to their end."""
        return self.start(*commands, cwd=cwd, trap=trap, prepare=prepare).wait()

    def ok(self, *commands: Sequence[str], cwd: Path) -> Outcome:
        """Run command lines that must succeed."""
        outcome = self.run(*commands, cwd=cwd)
        assert outcome.code == 0, (commands, outcome)
        return outcome


# --- the other side


class _Springing:
    """Counts moments, and springs the trap at the right one."""

    def __init__(self, trap: Trap, notes: int) -> None:
        self._trap = trap
        self._notes = notes
        self._count = 0
        self._write = os.write
        self._lock = threading.Lock()
        # Open from the start: whoever reads it learns of an end without a hold, too.
        self._told = os.open(trap.told, os.O_WRONLY) if trap.told else -1

    def checkpoint(self, name: str) -> None:
        """An observer of `events.checkpoint`."""
        if self._trap.on == "checkpoint" and self._due(name):
            self._spring()

    def wrap(self) -> None:
        """Put a counter before each system call in question."""
        for name in self._trap.only:
            original = getattr(os, name)
            replacement = self._wrapped(name, original)
            for ability in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
                if original in ability:
                    ability.add(replacement)
            setattr(os, name, replacement)

    def _wrapped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not args[1] & (os.O_CREAT | os.O_TRUNC):
                return original(*args, **kwargs)
            if self._due(name):
                if name == "write" and self._trap.action == "kill":
                    original(args[0], bytes(args[1])[: len(args[1]) // 2])
                self._spring()
            return original(*args, **kwargs)

        return call

    def _due(self, name: str) -> bool:
        with self._lock:
            self._write(self._notes, f"{name}\n".encode())
            self._count += self._trap.named in ("", name)
            if self._trap.named not in ("", name):
                return False
            return self._count == self._trap.at or (self._trap.lasts and 0 < self._trap.at < self._count)

    def _spring(self) -> None:
        if self._trap.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._trap.action == "hold":
            self._write(self._told, b"held\n")
            _pass(self._trap.gate)
        else:
            number = getattr(errno, self._trap.action)
            raise OSError(number, os.strerror(number))


def _pass(gate: str) -> None:
    """Wait until nobody holds the file `gate` exclusively."""
    import fcntl

    with open(gate) as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def _named(where: str) -> Callable[..., Any]:
    module, _, function = where.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _child(request: Mapping[str, Any]) -> int:
    from modelops_bundle.events import observe_checkpoints
    from modelops_bundle.ui.cli.main import main

    folder = Path(request["folder"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, source in ((0, nothing), (1, os.open(folder / "out", flags)), (2, os.open(folder / "err", flags))):
        os.dup2(source, number)
    notes = os.open(folder / "moments", flags)
    os.chdir(request["cwd"])
    if request["prepare"]:
        _named(request["prepare"])()
    if request["gate"]:
        _pass(request["gate"])
    if request["trap"] is not None:
        springing = _Springing(Trap(**{**request["trap"], "only": tuple(request["trap"]["only"])}), notes)
        observe_checkpoints(springing.checkpoint)
        if request["trap"]["on"] == "syscall":
            springing.wrap()
    code = 0
    for command in request["commands"]:
        code = main(command)
        if code:
            break
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _serve() -> None:
    package = importlib.import_module(PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    importlib.import_module("urllib3")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                code = 70
                try:
                    code = _child(request)
                finally:
                    if sys.exc_info()[0] is not None:
                        traceback.print_exc()
                    os._exit(code)
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
