"""Only ui and api read the environment or the working directory; only ui/cli/errors.py catches everything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.tree import PACKAGE, ROOT, modules, plant

_READS = {
    "os": {"environ", "environb", "getenv", "getenvb", "getcwd", "getcwdb", "putenv", "unsetenv", "chdir", "fchdir"},
    "os.path": {"expanduser", "expandvars"},
    "pathlib": {"Path.cwd", "Path.home"},
}
_READING_MODULES = {"platformdirs"}
_READING_METHODS = {"cwd", "expanduser"}
"""Of paths: `Path.cwd()`, `path.expanduser()`, whatever name the path class was imported under."""


def _ambient(node: ast.AST) -> str | None:
    """What `node` reads from the surroundings of the process, or None."""
    match node:
        case ast.Import(names=names):
            read = [alias.name for alias in names if alias.name.split(".")[0] in _READING_MODULES]
            return read[0] if read else None
        case ast.ImportFrom(module=str(module), names=names):
            if module.split(".")[0] in _READING_MODULES:
                return module
            read = [f"{module}.{alias.name}" for alias in names if alias.name in _READS.get(module, ())]
            return read[0] if read else None
        case ast.Attribute(value=ast.Name(id=owner), attr=attribute) if attribute in _READS.get(owner, ()):
            return f"{owner}.{attribute}"
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="os"), attr="path"), attr=attribute):
            return f"os.path.{attribute}" if attribute in _READS["os.path"] else None
        case ast.Attribute(value=ast.Name(id="Path"), attr=attribute) if f"Path.{attribute}" in _READS["pathlib"]:
            return f"Path.{attribute}"
        case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in _READING_METHODS:
            return f".{attribute}()"
    return None


def environment_readers(root: Path) -> list[str]:
    """Where code outside ui and api reads the environment or the working directory."""
    found: dict[str, None] = {}
    for module in modules(root):
        if module.inside("ui", "api"):
            continue
        for node in ast.walk(module.tree):
            if read := _ambient(node):
                found.setdefault(f"{module.path}:{node.lineno} {read}")  # type: ignore[attr-defined]
    return list(found)


def _names(expression: ast.expr | None) -> Iterator[str]:
    match expression:
        case None:
            yield "everything"
        case ast.Tuple(elts=elements):
            for element in elements:
                yield from _names(element)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name


def _ends_in_raise(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def broad_handlers(root: Path) -> list[str]:
    """Handlers outside ui/cli/errors.py that catch everything.

    `except BaseException` that ends in a bare `raise` is cleaning up, and allowed.
    """
    found = []
    for module in modules(root):
        if module.path == f"{PACKAGE}/ui/cli/errors.py":
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler):
                caught = set(_names(node.type))
                cleans_up = caught == {"BaseException"} and _ends_in_raise(node)
                if caught & {"Exception", "BaseException", "everything"} and not cleans_up:
                    found.append(f"{module.path}:{node.lineno} catches {', '.join(sorted(caught))}")
    return found


def test_only_ui_and_api_read_the_environment() -> None:
    assert environment_readers(ROOT) == []


def test_only_the_command_line_catches_everything() -> None:
    assert broad_handlers(ROOT) == []


def test_the_rule_sees_readers_of_the_environment(tmp_path: Path) -> None:
    allowed = "import os\nfrom pathlib import Path\nimport platformdirs\nx = os.environ, Path.cwd()\n"
    plant(
        tmp_path,
        {
            f"{PACKAGE}/ui/cli/main.py": allowed,
            f"{PACKAGE}/api/bundle.py": allowed,
            f"{PACKAGE}/disk/a.py": "import os\nos.fsync(1)\nos.path.join('a', 'b')\n",
            f"{PACKAGE}/disk/b.py": "import os\ndef f():\n    return os.environ['HOME']\n",
            f"{PACKAGE}/disk/c.py": "from os import getcwd\n",
            f"{PACKAGE}/net/d.py": "from pathlib import Path\nPath.cwd()\n",
            f"{PACKAGE}/net/e.py": "import os\nos.path.expanduser('~')\n",
            f"{PACKAGE}/net/f.py": "from platformdirs import user_cache_dir\n",
            f"{PACKAGE}/operations/g.py": "import os\nos.getenv('A')\n",
        },
    )
    assert environment_readers(tmp_path) == [
        f"{PACKAGE}/disk/b.py:3 os.environ",
        f"{PACKAGE}/disk/c.py:1 os.getcwd",
        f"{PACKAGE}/net/d.py:2 .cwd()",
        f"{PACKAGE}/net/d.py:2 Path.cwd",
        f"{PACKAGE}/net/e.py:2 .expanduser()",
        f"{PACKAGE}/net/e.py:2 os.path.expanduser",
        f"{PACKAGE}/net/f.py:1 platformdirs",
        f"{PACKAGE}/operations/g.py:2 os.getenv",
    ]


def test_the_rule_sees_broad_handlers(tmp_path: Path) -> None:
    guarded = "try:\n    pass\nexcept {}:\n    {}\n"
    plant(
        tmp_path,
        {
            f"{PACKAGE}/ui/cli/errors.py": guarded.format("Exception", "pass"),
            f"{PACKAGE}/disk/fine.py": guarded.format("(OSError, ValueError)", "pass"),
            f"{PACKAGE}/disk/cleans.py": guarded.format("BaseException", "raise"),
            f"{PACKAGE}/disk/a.py": guarded.format("Exception as error", "raise"),
            f"{PACKAGE}/disk/b.py": guarded.format("(OSError, Exception)", "pass"),
            f"{PACKAGE}/disk/c.py": "try:\n    pass\nexcept:\n    raise\n",
            f"{PACKAGE}/disk/d.py": guarded.format("BaseException", "pass"),
            f"{PACKAGE}/ui/cli/push.py": guarded.format("builtins.Exception", "pass"),
        },
    )
    assert broad_handlers(tmp_path) == [
        f"{PACKAGE}/disk/a.py:3 catches Exception",
        f"{PACKAGE}/disk/b.py:3 catches Exception, OSError",
        f"{PACKAGE}/disk/c.py:3 catches everything",
        f"{PACKAGE}/disk/d.py:3 catches BaseException",
        f"{PACKAGE}/ui/cli/push.py:3 catches Exception",
    ]
