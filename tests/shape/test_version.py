"""There is one version constant, and everything that shows a version shows that one."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

from click.testing import CliRunner

import modelops_bundle
from tests.support.tree import PACKAGE, ROOT, modules, plant

_CONSTANT = re.compile(r"_*(?:[A-Z]+_)*version(?:_string)?_*", re.IGNORECASE)
_RELEASE = re.compile(r"\d+\.\d+\.\d+([a-z.+-].*)?")


def version_constants(root: Path) -> list[str]:
    """Every place that gives a name like `version` a literal like 1.2.3."""
    found = []
    for module in modules(root):
        for node in ast.walk(module.tree):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))):
                    pass
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(value))):
                    pass
                case ast.keyword(arg=str(name), value=ast.Constant(value=str(value))):
                    pass
                case _:
                    continue
            if _CONSTANT.fullmatch(name) and _RELEASE.fullmatch(value):
                found.append(f"{module.path}:{node.lineno} {name}")
    with (root / "pyproject.toml").open("rb") as file:
        if "version" in tomllib.load(file)["project"]:
            found.append("pyproject.toml project.version")
    return found


def test_there_is_one_version_constant() -> None:
    assert [place.partition(":")[0] for place in version_constants(ROOT)] == [f"{PACKAGE}/__init__.py"]


def test_the_package_metadata_agrees() -> None:
    # A version that was just changed is installed by `make clean check`.
    assert importlib.metadata.version("modelops-bundle") == modelops_bundle.__version__


def test_the_command_line_agrees() -> None:
    from modelops_bundle.ui.cli.main import cli

    result = CliRunner().invoke(cli, ["--version"], prog_name="bundle")
    assert result.exit_code == 0
    assert modelops_bundle.__version__ in result.output.split()


def test_the_rule_sees_a_second_constant(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "pyproject.toml": '[project]\nversion = "0.1.0"\n',
            f"{PACKAGE}/__init__.py": '__version__ = "0.1.0"\n',
            f"{PACKAGE}/plan/push.py": 'FIRST_RELEASE = "0.1.0"\nMEDIA_VERSION = "1"\n',
            f"{PACKAGE}/net/client.py": 'CLIENT_VERSION: str = "0.1.0"\n',
            f"{PACKAGE}/ui/cli/main.py": 'x = click.version_option(version="0.1.0")\n',
        },
    )
    assert version_constants(tmp_path) == [
        f"{PACKAGE}/__init__.py:1 __version__",
        f"{PACKAGE}/net/client.py:1 CLIENT_VERSION",
        f"{PACKAGE}/ui/cli/main.py:1 version",
        "pyproject.toml project.version",
    ]
