"""The source tree as the shape tests see it: modules of a package, parsed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "modelops_bundle"


@dataclass(frozen=True)
class Module:
    """One module: its path below the root that was asked for, POSIX, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The module, parsed."""
        return ast.parse(self.text, self.path)

    def inside(self, *rooms: str) -> bool:
        """Whether it stands in one of these rooms of the package, or is one of these files."""
        return any(self.path == f"{PACKAGE}/{room}" or self.path.startswith(f"{PACKAGE}/{room}/") for room in rooms)


def modules(root: Path = ROOT) -> Iterator[Module]:
    """Every module of the package below `root`, in order."""
    for path in sorted((root / PACKAGE).rglob("*.py")):
        yield Module(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """Write a small tree below `root`, to show a rule something bad; returns `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root
