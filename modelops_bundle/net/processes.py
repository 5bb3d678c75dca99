"""Running a small program: input in, bounded output out, an end in bounded time.

For programs that somebody configured and that may do anything: hang, print for ever, leave children behind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectors import BaseSelector
    from subprocess import Popen

MAX_OUTPUT = 1024 * 1024
"""Most bytes of a program's standard output."""
MAX_COMPLAINT = 8 * 1024
"""Bytes of its standard error that are kept; the rest is read and dropped."""
_POLL = 0.05
_LAST = 32
"""Looks at the pipes of a program that has ended: enough for what fits in them, whatever its children add."""
_BLOCK = 64 * 1024


class Hung(Exception):
    """It did not end in time, and was killed."""


class TooMuch(Exception):
    """It printed more than `MAX_OUTPUT`, and was killed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended. Its output may hold secrets."""

    code: int
    out: bytes = field(repr=False)
    err: bytes = field(repr=False)


def find(name: str, path: str) -> Path | None:
    """The program `name` in the directories of `path`; relative ones do not count, they move with the working directory."""
    for folder in path.split(os.pathsep):
        candidate = Path(folder, name)
        if Path(folder).is_absolute() and candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    return None


def run(
    program: Path,
    arguments: tuple[str, ...],
    data: bytes,
    environment: Mapping[str, str],
    *,
    timeout: float,
    check: Callable[[], None],
) -> Ended:
    """Run `program` in a session of its own, without a shell and away from the working directory.

    :param data: its standard input.
    :param timeout: seconds until it is killed together with its children.
    :param check: called again and again; what it raises ends the program, too.
    :raises OSError: it cannot be started. :raises Hung: not done in time. :raises TooMuch: an output without end.
    """
    import subprocess  # slow to import, and only those with a helper need it

    deadline = time.monotonic() + timeout
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [str(program), *arguments],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        bufsize=0,
        env=dict(environment),
        cwd=os.sep,
        start_new_session=True,
    ) as process:
        try:
            return _Conversation(process, data).hold(deadline, check)
        except BaseException:
            _kill(process)
            raise


def _kill(process: Popen[bytes]) -> None:
    import signal

    # It leads its own group, which has its number until its last member has gone.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # gone by itself
    process.kill()


class _Conversation:
    """Feeds a process and reads what it says, all at once: nobody waits for a full pipe."""

    def __init__(self, process: Popen[bytes], data: bytes) -> None:
        self._process = process
        self._data = memoryview(data)
        self._out = bytearray()
        self._err = bytearray()

    def hold(self, deadline: float, check: Callable[[], None]) -> Ended:
        import selectors

        assert self._process.stdin and self._process.stdout and self._process.stderr
        with selectors.DefaultSelector() as selector:
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                os.set_blocking(stream.fileno(), False)
            selector.register(self._process.stdin, selectors.EVENT_WRITE, self._feed)
            selector.register(self._process.stdout, selectors.EVENT_READ, self._take_out)
            selector.register(self._process.stderr, selectors.EVENT_READ, self._take_err)
            # A child that lives on may hold the pipes open: the end of the program is the end.
            while (code := self._process.poll()) is None:
                check()
                if time.monotonic() >= deadline:
                    raise Hung
                self._turn(selector, _POLL if selector.get_map() else 0.0)
                if not selector.get_map():
                    time.sleep(_POLL / 10)
            for _ in range(_LAST):
                if not self._turn(selector, 0.0):
                    break
        return Ended(code, bytes(self._out), bytes(self._err))

    def _turn(self, selector: BaseSelector, wait: float) -> bool:
        """Move what can be moved now; False when nothing could."""
        ready = selector.select(wait) if selector.get_map() else []
        for key, _ in ready:
            if not key.data(key.fd):
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
        return bool(ready)

    def _feed(self, descriptor: int) -> bool:
        try:
            self._data = self._data[os.write(descriptor, self._data[:_BLOCK]) :]
        except BrokenPipeError:
            return False  # it does not want to know
        return bool(self._data)

    def _take_out(self, descriptor: int) -> bool:
        block = os.read(descriptor, _BLOCK)
        self._out += block
        if len(self._out) > MAX_OUTPUT:
            raise TooMuch
        return bool(block)

    def _take_err(self, descriptor: int) -> bool:
        block = os.read(descriptor, _BLOCK)
        self._err += block[: MAX_COMPLAINT - len(self._err)]
        return bool(block)
