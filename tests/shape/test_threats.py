"""docs/security.md names the tests of every threat, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.tree import ROOT, plant

PAGE = "docs/security.md"
THREATS = [*(f"R{number}" for number in range(1, 9)), *(f"C{number}" for number in range(1, 5))]

_ID = re.compile(r"`(tests/[\w/]+\.py)(?:::([\w:]+))?`")


def untested(page: str) -> list[str]:
    """The threats without a row of their own, or whose row names no test."""
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("|")}
    return [threat for threat in THREATS if not _ID.search(rows.get(threat, ""))]


def missing(root: Path, page: str) -> list[str]:
    """The tests that the page names and that are not there."""
    return sorted({f"{path}::{name}" for path, name in _ID.findall(page) if not _exists(root, path, name)})


def _exists(root: Path, path: str, name: str) -> bool:
    if not (root / path).is_file():
        return False
    found: list[ast.stmt] = ast.parse((root / path).read_text(encoding="utf-8")).body
    for part in name.split("::") if name else ():
        inside = [node for node in found if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == part]
        if not inside:
            return False
        found = inside[0].body
    return True


def _page() -> str:
    return (ROOT / PAGE).read_text(encoding="utf-8")


def test_every_threat_has_a_test() -> None:
    assert untested(_page()) == []


def test_every_test_that_is_named_exists() -> None:
    assert missing(ROOT, _page()) == []


def test_the_page_is_in_the_book() -> None:
    assert "security.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


# --- each rule shown something bad


def test_the_rule_sees_a_threat_without_a_test() -> None:
    page = _page()
    [row] = [line for line in page.splitlines() if line.startswith("| R5 ")]
    assert untested(page.replace(row, "")) == ["R5"]
    assert untested(page.replace(row, "| R5 | a threat | nothing | `tests` |")) == ["R5"]


def test_the_rule_sees_a_test_that_is_gone(tmp_path: Path) -> None:
    text = "def test_there() -> None: ...\n\nclass TestMore:\n    def test_inside(self) -> None: ...\n"
    plant(tmp_path, {"tests/unit/test_x.py": text})
    names = ("test_x.py::test_there", "test_x.py::TestMore::test_inside", "test_x.py::test_gone", "test_y.py::test_z")
    page = " ".join(f"`tests/unit/{name}`" for name in (*names, "test_x.py::TestMore::test_gone", "test_x.py"))
    assert missing(tmp_path, page) == [
        "tests/unit/test_x.py::TestMore::test_gone",
        "tests/unit/test_x.py::test_gone",
        "tests/unit/test_y.py::test_z",
    ]
