"""A pytest plugin: what tests use as secrets, and the search for them afterwards in everything that was written.

Every password and token of a test is made by `secret`. After each test, all files below its temporary directory and its
home, and all that it printed or logged, are searched for them, as they are and in base64. Files whose purpose is to hold
a login may have them: `may_hold` names those.
"""

from __future__ import annotations

import base64
import functools
import itertools
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

CANARY = "cAnArY7sEcReT"
"""In every secret of every test."""
_STORES = ("config.json", "auth.json")
_MOST = 8 << 20
_numbers = itertools.count()
_may_hold: set[Path] = set()


def secret(what: str = "password") -> str:
    """A new secret; nothing but a credential store may ever hold it."""
    return f"{what}-{CANARY}-{next(_numbers)}"


def may_hold(path: Path) -> Path:
    """Let the file `path`, or everything in the directory `path`, hold secrets: a credential store, a server's own log."""
    _may_hold.add(path)
    return path


@functools.cache
def spellings() -> list[bytes]:
    """How the canary looks as it is, and in base64 at each of its three alignments."""
    found = [CANARY.encode()]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + CANARY.encode())
        # What is certain whatever stands before and after.
        found.append(encoded[(0, 2, 3)[shift] : len(encoded) - len(encoded) % 4 - 4])
    return found


def printed(*texts: bytes) -> bool:
    """Whether one of `texts` holds a secret."""
    return any(spelling in text for spelling in spellings() for text in texts)


def leaks(*roots: Path) -> Iterator[str]:
    """The files below `roots` that hold a secret and may not."""
    for root in roots:
        for directory, _, files in os.walk(root):
            if any(Path(directory).is_relative_to(path) for path in _may_hold):
                continue
            for name in files:
                path = Path(directory, name)
                if name in _STORES or path in _may_hold or path.is_symlink() or not path.is_file():
                    continue
                if path.stat().st_size > _MOST:
                    continue
                if printed(path.read_bytes()):
                    yield str(path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Look for leaks while the temporary directory is still there."""
    before = next(_numbers)
    try:
        yield
        if next(_numbers) > before + 1:
            roots = [value for name, value in getattr(item, "funcargs", {}).items() if name in ("tmp_path", "home")]
            found = list(leaks(*roots))
            assert not found, f"secrets of this test are in {', '.join(found)}"
    finally:
        _may_hold.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed and logged is searched as well."""
    report = yield
    if report.when == "call" and report.passed:
        found = [title for title, text in report.sections if printed(text.encode())]
        if found:
            report.outcome = "failed"
            report.longrepr = f"secrets of this test are in its {', '.join(found)}"
    return report
