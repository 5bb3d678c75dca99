"""What a command says: data to stdout, everything else to stderr."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from modelops_bundle.errors import DiskError, DiskFull, NeedsConfirmation
from modelops_bundle.ui.cli.options import Settings
from modelops_bundle.ui.text import Line, Style


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has enough: `run_cli` ends in silence
    except OSError as error:
        kind = DiskFull if error.errno == errno.ENOSPC else DiskError
        raise kind(f"cannot write the output: {error.strerror}") from error


class Output:
    """The streams of one invocation. Every text is made safe here, and nowhere else."""

    def __init__(
        self,
        settings: Settings,
        *,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self._settings = settings
        self._stdin = sys.stdin if stdin is None else stdin
        self._stdout = sys.stdout if stdout is None else stdout
        self._stderr = sys.stderr if stderr is None else stderr
        self._style = Style(settings.colour)
        self._style_stderr = Style(settings.colour_stderr)
        self._answered = False

    def result(self, document: Mapping[str, Any] | Callable[[], Mapping[str, Any]], lines: Iterable[Line] = ()) -> None:
        """Print what the command found or did: the document under `--json`, else the lines unless quiet.

        :param document: or what makes it, when that takes time; only `--json` calls it.

        Once per command, and not before an error that is raised after all: `--json` promises one document.
        """
        if self._answered:
            raise RuntimeError("a command has one result")
        self._answered = True
        if self._settings.json:
            # ASCII only: the escapes of JSON keep control and bidi characters off a terminal.
            import json

            lines = [json.dumps(document() if callable(document) else document, default=str)]
        elif self._settings.quiet:
            return
        with _writing():
            self._stdout.writelines(self._style.line(line) + "\n" for line in lines)
            self._stdout.flush()

    def data(self, chunks: Iterable[bytes]) -> None:
        """Pass bytes through to stdout untouched (`cat`, `-o -`)."""
        raw = self._stdout.buffer
        for chunk in chunks:
            with _writing():
                raw.write(chunk)
        with _writing():
            raw.flush()

    def note(self, *lines: Line) -> None:
        """Say something on stderr that nobody has to act upon; silent when quiet."""
        if not self._settings.quiet:
            self.warn(*lines)

    def warn(self, *lines: Line) -> None:
        """Say something on stderr that has to be read."""
        if self._settings.progress == "json":
            # Whoever reads events from stderr gets nothing else there.
            from modelops_bundle.events import Notice
            from modelops_bundle.ui.jsonlines import JsonLinesSink

            for line in lines:
                JsonLinesSink(self._stderr)(Notice("note", Style().line(line)))
            return
        self._stderr.writelines(self._style_stderr.line(line) + "\n" for line in lines)
        self._stderr.flush()

    def confirm(self, question: str, details: Iterable[Line] = ()) -> None:
        """Return when the user agrees.

        :param details: what is about to happen, shown above the question and not without it.
        :raises NeedsConfirmation: declined, or nobody there to ask and no `--yes`.
        """
        if self._settings.yes:
            return
        shown = list(details)
        if not self._can_ask():
            raise NeedsConfirmation(
                f"not done without a confirmation: {question}",
                hint="--yes confirms without asking",
                question=question,
                details=[Style().line(line) for line in shown],
            )
        self.warn(*shown)
        self._stderr.write(f"{self._style_stderr.line(question)} [y/N] ")
        self._stderr.flush()
        if self._stdin.readline().strip().lower() not in ("y", "yes"):
            raise NeedsConfirmation("not confirmed, nothing was done", hint="--yes confirms without asking")

    def _can_ask(self) -> bool:
        return self._settings.stdin_is_tty and self._settings.stderr_is_tty and not self._settings.json
