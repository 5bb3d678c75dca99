"""The rooms know each other only the way DESIGN §3 says: import-linter's contracts hold, and each can fail."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.tree import PACKAGE, ROOT, modules, plant


def lint(where: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the configuration and the package that stand in `where`."""
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", *options],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(where), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def contracts() -> dict[str, str]:
    """Id to name of every contract."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        configured = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return {contract["id"]: contract["name"] for contract in configured}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its configuration, to be spoilt."""
    shutil.copytree(ROOT / PACKAGE, tmp_path / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


VIOLATIONS = [
    ("layers", "model/bad.py", "import modelops_bundle.plan"),
    ("layers", "errors.py", "import modelops_bundle.events"),
    ("layers", "transfer/bad.py", "import modelops_bundle.stores"),
    ("layers", "stores/bad.py", "import modelops_bundle.transfer"),
    ("layers", "sources/bad.py", "import modelops_bundle.transfer"),
    ("layers", "sources/bad.py", "import modelops_bundle.stores"),
    ("layers", "workspace/bad.py", "from modelops_bundle import stores"),
    ("layers", "net/bad.py", "import modelops_bundle.disk"),
    ("layers", "plan/bad.py", "import modelops_bundle.net"),
    ("layers", "api/bad.py", "import modelops_bundle.ui"),
    ("layers", "attic/__init__.py", ""),
    ("terminal-in-ui", "operations/bad.py", "import click"),
    ("terminal-in-ui", "api/bad.py", "def lazily():\n    import rich.table"),
    ("terminal-in-ui", "transfer/bad.py", "import textual"),
    ("http-in-net", "stores/bad.py", "import urllib3"),
    ("http-in-net", "transfer/bad.py", "from http.client import HTTPConnection"),
    ("http-in-net", "ui/cli/bad.py", "import requests"),
    ("http-in-net", "net/bad.py", "import httpx"),
    ("pure-core", "model/bad.py", "from pathlib import PurePosixPath"),
    ("pure-core", "model/bad.py", "import os.path"),
    ("pure-core", "plan/bad.py", "import time"),
    ("pure-core", "plan/bad.py", "import socket"),
    ("testing-unused", "operations/bad.py", "import modelops_bundle.testing"),
    ("testing-unused", "ui/bad.py", "from modelops_bundle import testing"),
    ("acyclic", "disk/bad.py", "import modelops_bundle.disk.worse"),
]


@pytest.mark.parametrize(("contract", "path", "code"), VIOLATIONS)
def test_a_violation_breaks_its_contract(copy: Path, contract: str, path: str, code: str) -> None:
    spoilt = copy / PACKAGE / path
    before = spoilt.read_text(encoding="utf-8") if spoilt.exists() else ""
    plant(copy, {f"{PACKAGE}/{path}": f"{before}\n{code}\n"})
    if contract == "acyclic":
        plant(copy, {f"{PACKAGE}/disk/worse.py": "import modelops_bundle.disk.bad\n"})
    result = lint(copy, "--contract", contract)
    assert f"{contracts()[contract]} BROKEN" in result.stdout, result.stdout + result.stderr
    assert result.returncode == 1


def test_every_contract_is_among_those_proven() -> None:
    assert set(contracts()) == {contract for contract, _, _ in VIOLATIONS}


# --- what import-linter cannot see: it knows modules outside the package by their first name only

_HTTP_BELOW = ("urllib.request", "urllib.error", "urllib.robotparser")


def http_outside_net(root: Path) -> list[str]:
    """Imports of the HTTP parts of urllib (whose `parse` anybody may use) outside net."""
    found = []
    for module in modules(root):
        if module.inside("net"):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            found += [f"{module.path}:{node.lineno} {name}" for name in names if name in _HTTP_BELOW]
    return found


def test_urllib_makes_requests_in_net_only() -> None:
    assert http_outside_net(ROOT) == []


def test_the_rule_sees_urllib_requests(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            f"{PACKAGE}/net/client.py": "import urllib.request\n",
            f"{PACKAGE}/model/reference.py": "from urllib.parse import quote\n",
            f"{PACKAGE}/stores/a.py": "import urllib.request\n",
            f"{PACKAGE}/stores/b.py": "from urllib import parse, request\n",
            f"{PACKAGE}/stores/c.py": "from urllib.request import urlopen\n",
        },
    )
    assert http_outside_net(tmp_path) == [f"{PACKAGE}/stores/{name}.py:1 urllib.request" for name in "abc"]
