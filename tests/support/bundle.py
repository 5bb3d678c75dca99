"""A bundle as its user works on it: files on one side, command lines on the other.

`Bundle.run` calls the command line in this process, which is fast; `Bundle.spawn` starts a real one. Both check the exit
code at once, so that a test only says what it expects.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelops_bundle.ui.cli.main import main
from tests.support import canary

FOLDER = ".modelops-bundle"
ROOT = Path(__file__).resolve().parents[2]

Content = str | bytes


class Node(NamedTuple):
    """What is at a path: `file` with bytes, `link` with its target, or an empty `dir`."""

    kind: str
    content: bytes = b""
    executable: bool = False


class Asked(NamedTuple):
    """One request as the client reports it."""

    method: str
    url: str
    status: int


@dataclass(frozen=True)
class Result:
    """How a command ended and what it wrote."""

    argv: tuple[str, ...]
    code: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.data.decode()

    @property
    def text(self) -> str:
        """Everything a person saw."""
        return self.out + self.err

    @property
    def json(self) -> dict[str, Any]:
        """The one document on standard output; more than one, or none, fails."""
        document = json.loads(self.out)
        assert isinstance(document, dict), self.out
        return document

    @property
    def error(self) -> dict[str, Any]:
        """What `--json` says about the failure."""
        error = self.json["error"]
        assert isinstance(error, dict), error
        assert error["exit_code"] == self.code
        return error

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of `--progress json`: every line that is one."""
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith('{"v":')]
        return [line for line in lines if "event" in line]

    @property
    def notices(self) -> dict[str, str]:
        """Notices of `--progress json` by code."""
        return {event["code"]: event["message"] for event in self.events if event["event"] == "notice"}

    @property
    def requests(self) -> list[Asked]:
        """The requests of `--progress json`, in order."""
        asked = (event for event in self.events if event["event"] == "requested")
        return [Asked(event["method"], event["url"], event["status"]) for event in asked]

    def __str__(self) -> str:
        return f"bundle {' '.join(self.argv)} ended with {self.code}\n--- stdout\n{self.data!r}\n--- stderr\n{self.err}"


def call(*argv: str, expect: int | None = 0, stdin: bytes = b"") -> Result:
    """Run one command line in this process. `expect` None takes any exit code."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    err = io.StringIO()
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(argv)
    finally:
        sys.stdin = before
    out.flush()
    result = Result(argv, code, raw.getvalue(), err.getvalue())
    assert not canary.printed(result.data, result.err.encode()), f"a secret of this test was printed: {result}"
    assert expect is None or code == expect, f"expected {expect}: {result}"
    return result


def spawn(*argv: str, expect: int | None = 0, environment: Mapping[str, str] | None = None, before: str = "") -> Result:
    """Run one command line as a process of its own.

    :param before: Python to run in it first.
    """
    words = (
        ["-c", f"{before}\nfrom modelops_bundle.ui.cli.main import main\nraise SystemExit(main())"]
        if before
        else ["-m", "modelops_bundle"]
    )
    done = subprocess.run(
        [sys.executable, *words, *argv],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    result = Result(argv, done.returncode, done.stdout, done.stderr.decode())
    assert not canary.printed(done.stdout, done.stderr), f"a secret of this test was printed: {result}"
    assert expect is None or done.returncode == expect, f"expected {expect}: {result}"
    return result


KILL = """
import os, signal
from modelops_bundle import events
def strike(name):
    if name == {step!r}:
        os.kill(os.getpid(), signal.SIGKILL)
events.observe_checkpoints(strike)
"""
"""Ends the process without mercy at a checkpoint."""


class Bundle:
    """A working directory, which may or may not be a bundle yet."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # --- commands

    def run(self, *words: str, expect: int | None = 0, cwd: str = "") -> Result:
        """One command line in this process, in the directory `cwd` below the root."""
        return call("-C", str(self.root / cwd), *words, expect=expect)

    def spawn(
        self, *words: str, expect: int | None = 0, environment: Mapping[str, str] | None = None, before: str = ""
    ) -> Result:
        """One command line in a process of its own."""
        return spawn("-C", str(self.root), *words, expect=expect, environment=environment, before=before)

    def killed_at(self, step: str, *words: str) -> None:
        """Run a command that SIGKILL ends at the checkpoint `step`; it must get there."""
        self.spawn(*words, expect=-9, before=KILL.format(step=step))

    def json(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """The document a command prints under `--json`."""
        return self.run("--json", *words, expect=expect).json

    def refused(self, code: int, *words: str) -> dict[str, Any]:
        """The error document of a command that must end with `code`."""
        return self.run("--json", *words, expect=code).error

    def requests(self, *words: str, expect: int = 0) -> list[Asked]:
        """The requests that a command makes."""
        return self.run("--progress", "json", *words, expect=expect).requests

    @classmethod
    def create(cls, root: Path, remote: str | None = None, files: Mapping[str, Content] | None = None) -> Bundle:
        """A new bundle that tracks `files`; nothing is pushed."""
        made = cls(root)
        root.mkdir(parents=True, exist_ok=True)
        made.run("init", *([remote] if remote else []))
        if files:
            made.write(files)
            made.run("add", ".")
        return made

    @classmethod
    def clone(cls, remote: str, root: Path) -> Bundle:
        """A clone of `remote`."""
        call("clone", remote, str(root))
        return cls(root)

    def push(self, *words: str) -> str:
        """Push; the digest."""
        return str(self.json("push", *words)["digest"])

    def commit(self, files: Mapping[str, Content | None], *words: str) -> str:
        """Write files (None deletes), track them, push; the digest."""
        self.write(files)
        present = [name for name, content in files.items() if content is not None]
        if present:
            self.run("add", *present)
        return self.push(*words)

    def changes(self, *words: str) -> dict[str, str]:
        """What `status` says, by path: unchanged ones are not in it."""
        return {change["path"]: change["change"] for change in self.json("status", *words)["changes"]}

    def listed(self, *words: str) -> set[str]:
        """The paths that `ls` lists."""
        return set(self.json("ls", *words)["files"])

    # --- files

    def path(self, name: str) -> Path:
        """Where `name` is on disk."""
        return self.root / name

    def write(self, files: Mapping[str, Content | None]) -> None:
        """Write files with their directories; None deletes."""
        for name, content in files.items():
            path = self.root / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def read(self, name: str) -> str:
        """The text of a file."""
        return (self.root / name).read_text(encoding="utf-8")

    def tree(self) -> dict[str, Node]:
        """Everything in the directory but our own folder."""
        return tree(self.root)

    @property
    def tracked(self) -> set[str]:
        """The tracked paths."""
        path = self.root / FOLDER / "tracked"
        return set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()

    def bookkeeping(self) -> dict[str, bytes]:
        """Our own folder's files, but for what is disposable and what the commands of one process leave behind."""
        folder = self.root / FOLDER
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.relative_to(folder).parts[0] not in ("index", "lock", "store")
        }


def tree(root: Path) -> dict[str, Node]:
    """Files, links and empty directories below `root` by POSIX path, but for a bundle's own folder at its top."""
    return dict(_nodes(root, root))


def _nodes(root: Path, directory: Path) -> Iterator[tuple[str, Node]]:
    for path in sorted(directory.iterdir()):
        name = path.relative_to(root).as_posix()
        if name == FOLDER:
            continue
        if path.is_symlink():
            yield name, Node("link", os.fsencode(os.readlink(path)))
        elif path.is_dir():
            if any(path.iterdir()):
                yield from _nodes(root, path)
            else:
                yield name, Node("dir")
        else:
            yield name, Node("file", path.read_bytes(), os.access(path, os.X_OK) and bool(path.stat().st_mode & 0o100))
