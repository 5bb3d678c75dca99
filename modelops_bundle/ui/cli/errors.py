"""The one place where exceptions end: every failure becomes a message, a document and an exit code.

A broken pipe ends in silence with 141, what shells report for the programs around us that die of SIGPIPE.
docs/reference/errors.md is the published table.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

import click

from modelops_bundle import __version__
from modelops_bundle.disk.problems import translate
from modelops_bundle.errors import BundleError, Interrupted, Terminated, UsageError
from modelops_bundle.net.redact import redact, redacted
from modelops_bundle.ui.text import Line, Paint, Style, wants_colour

BROKEN_PIPE = 141
_MOST_LISTED = 20
_KEPT = "what was transferred is kept; run the same command again to go on"

HINTS: Mapping[str, str] = {
    "usage": "bundle --help lists the commands, bundle COMMAND --help explains one",
    "config": "bundle config list shows what is set",
    "partial": "run the same command again: what is done is not done twice",
    "not-a-bundle": "bundle init makes one here; -C DIR works on another directory",
    "already-a-bundle": "bundle remote set changes where it pushes to",
    "no-match": "bundle ls lists what is tracked, bundle status what is not",
    "ignored": "write !PATTERN below the rule in .modelopsignore to take it back",
    "conflict": "--merge applies the rest, --ours PATH or --theirs PATH settles one, bundle cat REF:PATH shows theirs",
    "would-overwrite": "--overwrite lists what would be lost and makes the tree equal the remote",
    "is-pointer": "bundle materialize . rebuilds it from what another tool pulled, bundle restore PATH brings it back",
    "locked": "wait for the other command to end, or end it",
    "needs-confirmation": "--yes confirms without asking",
    "source-changed": "run the command again: it takes what is there now",
    "tag-moved": "bundle pull brings the remote work in; push --force drops it and says what it drops",
    "workspace-changed": "run the command again when nothing writes to these files",
    "verify-failed": "bundle status shows the differences, bundle restore PATH puts a file back",
    "not-found": "bundle tags lists what the remote has",
    "unauthorized": "log in to the registry with an account that may do this (bundle login HOST)",
    "unavailable": "run the same command again later; --offline answers from what this clone knows",
    "rate-limited": "run the same command again later, with --jobs 1 or --limit-rate to ask for less at once",
    "corrupt": "nothing was kept of the bad bytes; bundle verify checks the rest",
    "unsafe-path": "rename it where it comes from, or keep it out with a rule in .modelopsignore",
    "untrusted": "nothing of it was kept; bundle referrers REF lists what was attached, signatures among it",
    "unsupported": "bundle inspect REF shows what it is",
    "io": "look at the permissions and the health of the disk, then run the same command again",
    "disk-full": "make room and run the same command again: verified parts are kept",
    "interrupted": _KEPT,
    "terminated": _KEPT,
}
"""What to do, in terms of this command line, about errors that bring no hint of their own."""


_MACHINE = frozenset(
    getattr(errno, name)
    for name in "EACCES EDQUOT EFBIG EIO ELOOP EMFILE ENAMETOOLONG ENFILE ENOSPC EPERM EROFS ESTALE".split()
)
"""What an operating system refuses for reasons of its own, and no bug of ours makes it refuse."""


class Bug(BundleError):
    """Something that is our fault."""

    code = "bug"
    exit_code = 1


class Terminating(KeyboardInterrupt):
    """SIGTERM where no run is there to be cancelled. Passes through `except Exception`, like its parent."""


def run_cli(function: Callable[[], object], *, json_output: bool = False) -> int:
    """Call `function` and return the exit code of the process.

    :param function: returns its exit code, or None for 0.
    :param json_output: whether an error is to be the document on stdout.
    """
    with _signals():
        try:
            code = function()
            sys.stdout.flush()
            return code if type(code) is int else 0
        except BrokenPipeError:
            return _end_silently()
        except (SystemExit, click.exceptions.Exit) as leaving:
            return _code_of(leaving)
        except (KeyboardInterrupt, click.Abort) as stop:
            # Whoever presses Ctrl-C once more does not want to read.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            return _say(_stopped(stop), json_output)
        except BundleError as error:
            return _say(error, json_output)
        except click.ClickException as error:
            return _say(_from_click(error), json_output)
        except Exception as error:
            return _unforeseen(error, json_output)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM raises outside of runs, and SIGINT is as it was once all is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminating

    interrupt = signal.getsignal(signal.SIGINT)
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
        signal.signal(signal.SIGINT, interrupt if interrupt is not None else signal.SIG_DFL)


def _code_of(leaving: SystemExit | click.exceptions.Exit) -> int:
    if isinstance(leaving, click.exceptions.Exit):
        return leaving.exit_code
    if leaving.code is None:
        return 0
    return leaving.code if isinstance(leaving.code, int) else 1


def _stopped(stop: BaseException) -> BundleError:
    return Terminated("terminated") if isinstance(stop, Terminating) else Interrupted("interrupted")


def _from_click(error: click.ClickException) -> UsageError:
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "bundle"
    hint = f"{where} --help shows how it is written"
    if isinstance(error, click.NoSuchOption):
        if error.possibilities:
            hint = f"did you mean {' or '.join(sorted(error.possibilities))}?"
        return UsageError(f"no such option: {error.option_name}", hint=hint)
    message = " ".join(error.format_message().split()).rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def _unforeseen(error: Exception, json_output: bool) -> int:
    if isinstance(error, OSError) and error.errno in _MACHINE:
        # Looking at files, and what click writes to stdout, is not always behind `disk`; the machine's fault it is.
        what = f"use {error.filename}" if error.filename else "write the output"
        return _say(translate(error, what), json_output)
    try:
        bug = _bug(error)
    except OSError:
        return Bug.exit_code  # nowhere to complain to
    return _say(bug, json_output)


def _bug(error: Exception) -> Bug:
    """Print the traceback, which may quote what it likes and is cleaned for that, and make the report line."""
    import platform
    import traceback

    style = Style()
    # The user's own input is in tracebacks: each line is made safe, and what looks like a secret is hidden.
    trace = redact("".join(traceback.format_exception(error)))
    _write(sys.stderr, [style.line(line) for line in trace.splitlines()] + [""])
    system = f"modelops-bundle {__version__}, Python {platform.python_version()}, {platform.platform()}"
    return Bug(
        f"internal error: {type(error).__name__}: {error}",
        hint=f"this is a bug: please report it with the lines above ({system})",
        type=type(error).__name__,
    )


def _say(error: BundleError, json_output: bool) -> int:
    try:
        if json_output:
            import json

            _write(sys.stdout, [json.dumps({"error": to_document(error)}, default=str)])
        else:
            style = Style(wants_colour(sys.stderr.isatty(), os.environ))
            _write(sys.stderr, [style.line(line) for line in to_lines(error)])
    except BrokenPipeError:
        return _end_silently()
    except OSError:
        _divert(sys.stdout)
        return _say(error, False) if json_output else error.exit_code
    return error.exit_code


def hint_for(error: BundleError) -> str | None:
    """The error's own hint, else the one of its code."""
    return error.hint or HINTS.get(error.code)


def to_document(error: BundleError) -> dict[str, Any]:
    """The value of `"error"`, without secrets."""
    document = error.to_json() | {"hint": hint_for(error)}
    return {
        key: redact(value) if isinstance(value, str) else redacted(value) if key == "facts" else value
        for key, value in document.items()
    }


def to_lines(error: BundleError) -> list[Line]:
    """The error as people read it: what happened, the items it names, what to do."""
    lines: list[Line] = [(Paint("error:", "red"), " ", redact(error.message))]
    for value in error.facts.values():
        if isinstance(value, (list, tuple)):
            # What the message names already is not said twice.
            lines.extend(_listed(item for item in value if not _is_said(item, error.message)))
    hint = hint_for(error)
    if hint:
        lines += ["", (Paint("hint:", "bold"), " ", redact(hint))]
    return lines


def _listed(items: Iterable[object]) -> Iterator[Line]:
    every = list(items)
    for item in every[:_MOST_LISTED]:
        yield f"  {redact(_one(item))}"
    if len(every) > _MOST_LISTED:
        yield f"  and {len(every) - _MOST_LISTED:,} more (--json lists all)"


def _is_said(item: object, message: str) -> bool:
    """Whether `message` has the item's name as a word, and the item has nothing to add."""
    name = _name(item)
    if not name or (isinstance(item, Mapping) and _one(item) != name):
        return False
    return re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w/-])", message) is not None


def _name(item: object) -> str:
    """What an item of a list is called; empty when it has no name."""
    if not isinstance(item, Mapping):
        return str(item)
    return next((str(item[key]) for key in ("path", "name", "tag", "ref") if item.get(key)), "")


def _one(item: object) -> str:
    """`path: reason` of a mapping that has both, else its values."""
    if not isinstance(item, Mapping):
        return str(item)
    name = _name(item)
    why = next((str(item[key]) for key in ("message", "reason", "why", "state") if item.get(key)), None)
    if name:
        return f"{name}: {why}" if why is not None else name
    return ", ".join(f"{key} {value}" for key, value in item.items())


def _write(stream: TextIO, lines: Iterable[str]) -> None:
    stream.write("".join(line + "\n" for line in lines))
    stream.flush()


def _end_silently() -> int:
    """Nobody reads: give what is still buffered to nobody, or the interpreter complains about it while it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _divert(stream)
    return BROKEN_PIPE


def _divert(stream: TextIO) -> None:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # a stream without descriptor (a test's) has nothing that could complain
