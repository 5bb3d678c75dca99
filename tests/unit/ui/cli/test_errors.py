from __future__ import annotations

import errno
import inspect
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest

from modelops_bundle import errors
from modelops_bundle.errors import BundleError, Conflict, NotFound, PartialFailure, TagMoved, Terminated
from modelops_bundle.ui.cli.errors import BROKEN_PIPE, HINTS, Bug, Terminating, run_cli, to_document, to_lines
from modelops_bundle.ui.text import Style

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, BundleError)]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "BUNDLE_JSON"):
        monkeypatch.delenv(name, raising=False)


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


def lines(error: BundleError) -> list[str]:
    return [Style().line(line) for line in to_lines(error)]


# ------------------------------------------------------------------------------------------------------ exit codes


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), (True, 0), ("text", 0)])
def test_the_function_decides_the_code(returned: object, code: int) -> None:
    assert run_cli(lambda: returned) == code


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_has_its_code_its_text_and_its_document(
    kind: type[BundleError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(raising(kind("it happened"))) == kind.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: it happened\n")
    assert kind is BundleError or "\n\nhint: " in err
    assert run_cli(raising(kind("it happened", hint="do it", n=1)), json_output=True) == kind.exit_code
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["error"] == {
        "code": kind.code,
        "exit_code": kind.exit_code,
        "message": "it happened",
        "hint": "do it",
        "facts": {"n": 1},
    }


def test_the_published_table_is_complete() -> None:
    page = (Path(__file__).parents[4] / "docs/reference/errors.md").read_text(encoding="utf-8")
    rows = {}
    for line in page.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[2].isdigit():
            rows[cells[0]] = (cells[1], int(cells[2]))
    assert rows == {kind.__name__: (kind.code, kind.exit_code) for kind in [*CLASSES, Bug]}
    assert f"| {BROKEN_PIPE} |" in page


def test_every_hint_is_for_a_code_and_every_code_has_one() -> None:
    assert set(HINTS) == {kind.code for kind in CLASSES} - {"error"}


# ----------------------------------------------------------------------------------------------------------- texts


def test_what_happened_which_items_what_to_do() -> None:
    error = Conflict("2 paths changed on both sides", paths=["a\x1b[2J", "b"], base="x")
    assert lines(error)[:3] == ["error: 2 paths changed on both sides", "  a\\x1b[2J", "  b"]
    assert lines(error)[3] == ""
    assert lines(error)[4].startswith("hint: --merge")


def test_items_that_are_objects_and_many_items() -> None:
    failed = [{"path": "a", "reason": "503", "code": 8}, {"tag": "v1"}, {"x": 1, "y": 2}]
    assert lines(PartialFailure("3 failed", failed=failed))[1:4] == ["  a: 503", "  v1", "  x 1, y 2"]
    shown = lines(PartialFailure("many", failed=[str(n) for n in range(1000)]))
    assert shown[20:22] == ["  19", "  and 980 more (--json lists all)"]


def test_the_errors_own_hint_wins() -> None:
    assert lines(TagMoved("moved", hint="look"))[-1] == "hint: look"
    assert lines(TagMoved("moved"))[-1] == f"hint: {HINTS['tag-moved']}"
    assert lines(BundleError("no hint")) == ["error: no hint"]


def test_no_secret_in_any_part() -> None:
    error = NotFound(
        "https://u:S3CRET@h/", hint="try https://u:S3CRET@h/", urls=["https://u:S3CRET@h/"], password="S3CRET"
    )
    assert "S3CRET" not in json.dumps(to_document(error))
    assert "S3CRET" not in "\n".join(lines(error))


def test_colour_only_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    run_cli(raising(NotFound("x", hint="y")))
    assert capsys.readouterr().err == "\x1b[31merror:\x1b[0m x\n\n\x1b[1mhint:\x1b[0m y\n"


# ----------------------------------------------------------------------------------------------------------- click


@click.group("bundle")
def program() -> None:
    pass


@program.command()
@click.option("--tag", type=click.Choice(["a", "b"]))
@click.argument("path")
def add(tag: str | None, path: str) -> None:
    pass


def invoke(*words: str) -> Callable[[], Any]:
    def call() -> Any:
        with program.make_context("bundle", list(words)) as context:
            return program.invoke(context)

    return call


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["add", "--tga", "x"], "no such option: --tga", "did you mean --tag?"),
        (["add", "--frobnicate"], "no such option: --frobnicate", "bundle add --help shows how it is written"),
        (["add"], "missing argument 'PATH'", "bundle add --help shows how it is written"),
        (["add", "x", "y"], "got unexpected extra argument (y)", "bundle add --help shows how it is written"),
        (["add", "--tag", "c", "x"], "invalid value for '--tag'", "bundle add --help shows how it is written"),
    ],
)
def test_wrong_words(words: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(invoke(*words)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.endswith(f"\n\nhint: {hint}\n")
    assert run_cli(invoke(*words), json_output=True) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def test_other_errors_of_click(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(raising(click.FileError("x", "gone"))) == 2
    assert capsys.readouterr().err.startswith("error: could not open file 'x': gone\n")


@pytest.mark.parametrize(
    ("leaving", "code"),
    [(SystemExit(), 0), (SystemExit(7), 7), (SystemExit("text"), 1), (click.exceptions.Exit(3), 3)],
)
def test_leaving_by_other_doors(leaving: BaseException, code: int) -> None:
    assert run_cli(raising(leaving)) == code


# --------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("stop", "code", "word"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (Terminating(), 143, "terminated"),
        (Terminated("terminated"), 143, "terminated"),
    ],
)
def test_stopped(stop: BaseException, code: int, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert run_cli(raising(stop)) == code
    assert capsys.readouterr().err == f"error: {word}\n\nhint: {HINTS[word]}\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_outside_of_a_run_is_not_swallowed_by_handlers_of_exceptions() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except Exception:  # noqa: BLE001 - what the test is about
            pytest.fail("swallowed")

    assert run_cli(work) == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_after_the_first_ctrl_c_a_second_one_ends_the_process() -> None:
    program = (
        "import os, signal, sys\n"
        "from modelops_bundle.ui.cli import errors\n"
        "def say(*_): os.kill(os.getpid(), signal.SIGINT); return 0\n"
        "errors._say = say\n"
        "def work(): raise KeyboardInterrupt\n"
        "sys.exit(errors.run_cli(work))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, b"")


def test_in_other_threads_signals_are_left_alone() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run_cli(lambda: 4)))
    thread.start()
    thread.join()
    assert codes == [4]


# ------------------------------------------------------------------------------------------------------ broken pipe


def test_a_broken_pipe_ends_silently(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(raising(BrokenPipeError())) == BROKEN_PIPE
    assert capsys.readouterr() == ("", "")


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_reader_that_goes_away_while_we_flush_or_complain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    assert run_cli(lambda: 0) == BROKEN_PIPE
    assert run_cli(raising(NotFound("x")), json_output=True) == BROKEN_PIPE


def test_the_interpreter_does_not_complain_either() -> None:
    program = (
        "import sys\n"
        "from modelops_bundle.ui.cli.errors import run_cli\n"
        "def work():\n"
        "    sys.stdin.readline()\n"
        "    sys.stdout.write('x' * 1_000_000)\n"
        "sys.exit(run_cli(work))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == BROKEN_PIPE


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_behind_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert run_cli(lambda: click.echo("help")) == 11
    assert capsys.readouterr().err.startswith("error: cannot write the output: no space left on device\n")
    assert run_cli(raising(NotFound("x")), json_output=True) == 6
    assert capsys.readouterr().err.startswith("error: x\n")


def test_nowhere_to_complain_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    assert run_cli(raising(NotFound("x"))) == 6
    assert run_cli(raising(ValueError("x"))) == 1


# ------------------------------------------------------------------------------------------------------------ bugs


def test_a_bug_has_a_traceback_and_a_line_to_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(raising(KeyError("https://user:S3CRET@h/ \x1b[2J"))) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n")
    assert "\nerror: internal error: KeyError: " in err
    assert "please report it with the lines above (modelops-bundle " in err
    assert "S3CRET" not in err
    assert "\x1b" not in err


def test_a_bug_under_json_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(raising(ZeroDivisionError("x")), json_output=True) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "bug"
    assert json.loads(out)["error"]["facts"] == {"type": "ZeroDivisionError"}
    assert err.startswith("Traceback")
