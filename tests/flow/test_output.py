"""What programs rely on: one document on stdout, the table of exit codes, quiet, no colour (DESIGN §7, §8)."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelops_bundle.operations import stage
from modelops_bundle.testing.actions import Refuse, Stall
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import ROOT, Bundle, call
from tests.support.clones import BASE, Pair, pair_on

PYTHON = [sys.executable, "-m", "modelops_bundle"]


@pytest.fixture
def here(tmp_path: Path) -> Pair:
    """Two clones on a layout, the second one behind, with work of its own and two tags."""
    pair = pair_on(f"layout:{tmp_path / 'remote'}", tmp_path)
    pair.a.push("--tag", "v1")
    pair.a.commit({"config.json": "v2\n"})
    pair.b.write({"README.md": "work\n", "loose.txt": "l\n"})
    return pair


SUCCESSES: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "status-short": ("status", "--short", "--ignored"),
    "status-exit-code": ("status", "--exit-code"),
    "diff": ("diff",),
    "diff-tags": ("diff", ":v1", ":latest", "--exit-code"),
    "ls": ("ls",),
    "ls-remote": ("ls", ":v1"),
    "tags": ("tags",),
    "inspect": ("inspect",),
    "inspect-manifest": ("inspect", ":v1", "--manifest", "--files"),
    "log": ("log",),
    "verify-remote": ("verify", ":v1"),
    "pull-dry-run": ("pull", "--dry-run"),
    "pull": ("pull",),
    "push-dry-run": ("push", "--tag", "v2", "--dry-run"),
    "push": ("push", "--tag", "v2"),
    "add": ("add", "loose.txt"),
    "add-dry-run": ("add", "--dry-run", "."),
    "rm": ("rm", "weights"),
    "restore": ("restore", "--yes", "README.md"),
    "restore-dry-run": ("restore", "--dry-run", "README.md"),
    "remote-list": ("remote", "list"),
    "remote-add": ("remote", "add", "other", "localhost:5000/x"),
    "remote-seen": ("remote", "seen"),
    "config-list": ("config", "list"),
    "config-get": ("config", "get", "remotes.origin.url"),
    "config-set": ("config", "set", "limits.jobs", "2"),
    "completion": ("completion", "bash"),
}

FAILURES: dict[str, tuple[int, tuple[str, ...]]] = {
    "no-such-command": (2, ("frobnicate",)),
    "no-such-option": (2, ("status", "--frobnicate")),
    "missing-argument": (2, ("add",)),
    "bad-reference": (2, ("pull", "not a ref")),
    "bad-config": (2, ("config", "set", "no.such.key", "1")),
    "no-match": (4, ("add", "absent")),
    "inside-another": (4, ("init",)),
    "moved": (5, ("push",)),
    "not-found": (6, ("pull", ":absent")),
    "unavailable": (8, ("ls", "localhost:1/x:y")),
    "verify": (5, ("verify",)),
    "unsupported": (10, ("ensure", "localhost:1/x:y", "--dest", "/")),
}


@pytest.mark.parametrize("words", SUCCESSES.values(), ids=SUCCESSES.keys())
def test_json_is_one_document_on_stdout(here: Pair, words: tuple[str, ...]) -> None:
    result = here.b.run("--json", *words, expect=None)
    assert result.code in (0, 1) if "--exit-code" in words else result.code == 0, result
    document = json.loads(result.out)
    assert isinstance(document, dict)
    assert "error" not in document
    assert result.out.count("\n") == 1
    assert result.out.isascii()


def test_json_of_init_and_clone(here: Pair, tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    assert call("-C", str(tmp_path / "fresh"), "--json", "init").json["root"] == str(tmp_path / "fresh")
    assert call("--json", "clone", here.remote, str(tmp_path / "c")).json["root"] == str(tmp_path / "c")


@pytest.mark.parametrize(("code", "words"), FAILURES.values(), ids=FAILURES.keys())
def test_json_of_an_error_is_one_document_too(here: Pair, code: int, words: tuple[str, ...]) -> None:
    result = here.b.run("--json", *words, expect=code)
    error = result.error
    assert set(error) == {"code", "exit_code", "message", "hint", "facts"}
    assert error["hint"]
    assert result.out.count("\n") == 1


@pytest.mark.parametrize(("code", "words"), FAILURES.values(), ids=FAILURES.keys())
def test_an_error_as_text_says_what_and_what_to_do(here: Pair, code: int, words: tuple[str, ...]) -> None:
    result = here.b.run(*words, expect=code)
    assert result.out == ""
    lines = result.err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert lines[-1].startswith("hint: ")
    assert lines[-2] == ""


def test_a_confirmation_in_json_is_an_error_document(here: Pair) -> None:
    here.b.run("rm", "weights", "README.md", "config.json")
    here.b.run("pull", "--ours", "config.json")
    assert here.b.refused(4, "push")["code"] == "needs-confirmation"


def test_progress_json_writes_nothing_else_to_stderr(here: Pair) -> None:
    for words in (
        ("status",),
        ("pull",),
        ("push", "--tag", "v2"),
        ("push", "--tag", "v2"),
        ("tags",),
        ("verify", ":v1"),
    ):
        result = here.b.run("--progress", "json", *words)
        for line in result.err.splitlines():
            event = json.loads(line)
            assert event["v"] == 1
            assert event["event"]


def test_progress_none_and_json_output_leave_stderr_empty(here: Pair) -> None:
    assert here.b.run("--progress", "none", "status").err == ""
    assert here.b.run("--json", "pull").err == ""


def test_quiet_says_nothing_when_all_is_well(here: Pair) -> None:
    for words in (("add", "loose.txt"), ("pull",), ("push",), ("status",), ("tags",), ("diff",)):
        result = here.b.run("--quiet", *words)
        assert result.text == "", words


def test_quiet_still_shows_errors(here: Pair) -> None:
    result = here.b.run("--quiet", "push", expect=5)
    assert result.out == ""
    assert result.err.startswith("error: ")


# -------------------------------------------------------------------------------------------------- exit codes


def test_each_exit_code_of_the_table(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _ = pair_on(f"{fake.host}/m", tmp_path)
    seen = {a.run("status").code, b.run("status", "--exit-code").code}
    assert seen == {0}
    b.write({"README.md": "work\n"})
    b.run("status", "--exit-code", expect=1)
    b.run("status", "--no-such", expect=2)
    b.write({"x.pyc": "1", "y.txt": "2"})
    b.run("add", "x.pyc", "y.txt", expect=3)
    b.run("add", "absent", expect=4)
    a.commit({"config.json": "v2\n"})
    b.run("push", expect=5)
    b.run("pull", ":absent", expect=6)
    with answering(fake, Refuse(401, "UNAUTHORIZED")):
        b.run("pull", expect=7)
    with answering(fake, Refuse(503, "UNAVAILABLE")):
        b.run("pull", expect=8)
    monkeypatch.setattr(stage, "free_bytes", lambda _: 0)
    b.run("pull", expect=11)
    monkeypatch.undo()


@contextmanager
def answering(fake: Fake, action: Refuse) -> Iterator[None]:
    fake.fault(lambda _, path: "/manifests/" in path, action, times=None)
    yield
    fake.heal()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
def test_a_signal_stops_at_a_clean_place(fake: Fake, tmp_path: Path, number: int, code: int) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    a.push()
    stall = Stall()
    order = fake.fault(lambda method, path: method == "GET" and "/blobs/" in path, stall, times=None)
    process = subprocess.Popen(
        [*PYTHON, "--json", "clone", f"{fake.host}/m", str(tmp_path / "c")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while not order.used:
            assert process.poll() is None, process.communicate()
            os.sched_yield()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        stall.release()
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == code, err
    assert json.loads(out)["error"]["exit_code"] == code
    assert Bundle(tmp_path / "c").tree() == {}
    fake.heal()
    call("clone", f"{fake.host}/m", str(tmp_path / "c"))
    assert Bundle(tmp_path / "c").tree() == a.tree()


def test_a_reader_that_leaves_ends_it_silently(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m", None, {f"file-{n:05}.txt": str(n) for n in range(3000)})
    process = subprocess.Popen(
        [*PYTHON, "-C", str(made.root), "ls"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert b"Traceback" not in err
    assert b"error" not in err


# ------------------------------------------------------------------------------------------------------ colour


def on_a_terminal(*words: str, **environment: str) -> bytes:
    """What a command writes when stdout and stderr are a terminal."""
    leader, follower = pty.openpty()
    try:
        process = subprocess.Popen(
            [*PYTHON, *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        os.close(follower)
        written = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # Linux says EIO when the last writer is gone
                break
            if not piece:
                break
            written += piece
        process.wait(60)
        return written
    finally:
        os.close(leader)


def test_colour_on_a_terminal_and_none_under_no_color(alone: Bundle) -> None:
    words = ("-C", str(alone.root), "--progress", "none", "status")
    assert b"\x1b[" in on_a_terminal(*words)
    assert b"\x1b[" not in on_a_terminal(*words, NO_COLOR="1")
    assert b"\x1b[" not in on_a_terminal(*words, TERM="dumb")


def test_colour_carries_no_meaning_alone(alone: Bundle) -> None:
    plain = on_a_terminal("-C", str(alone.root), "--progress", "none", "status", NO_COLOR="1")
    assert b"is up to date" in plain


def test_no_escape_ever_leaves_into_a_pipe(here: Pair) -> None:
    for words in (("status",), ("diff",), ("pull",), ("push", "--tag", "v2"), ("tags",), ("pull", ":absent")):
        assert "\x1b" not in here.b.run(*words, expect=None).text
