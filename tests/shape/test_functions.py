"""Functions of at most 50 lines, modules of at most 500. (Complexity is ruff's C901.)"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.tree import PACKAGE, ROOT, modules, plant

LONGEST_FUNCTION = 50
"""From `def` to the last line, docstring included, decorators not."""
LONGEST_MODULE = 500


def too_long(root: Path) -> list[str]:
    """What below `root` is over the limits."""
    found = []
    for module in modules(root):
        lines = len(module.text.splitlines())
        if lines > LONGEST_MODULE:
            found.append(f"{module.path}: {lines} lines")
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    found.append(f"{module.path}:{node.lineno} {node.name}: {length} lines")
    return found


def test_functions_and_modules_fit_on_a_screen() -> None:
    assert too_long(ROOT) == []


def test_the_rule_sees_what_is_too_long(tmp_path: Path) -> None:
    body = "    pass\n"
    plant(
        tmp_path,
        {
            f"{PACKAGE}/fits.py": "def fits():\n" + body * (LONGEST_FUNCTION - 1),
            f"{PACKAGE}/long.py": "class A:\n  async def long(self):\n" + body * LONGEST_FUNCTION,
            f"{PACKAGE}/big.py": "x = 1\n" * (LONGEST_MODULE + 1),
        },
    )
    assert too_long(tmp_path) == [
        f"{PACKAGE}/big.py: {LONGEST_MODULE + 1} lines",
        f"{PACKAGE}/long.py:2 long: {LONGEST_FUNCTION + 1} lines",
    ]
