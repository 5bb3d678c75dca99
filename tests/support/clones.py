"""Clones of one remote that are in step: where most stories begin."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.support.bundle import Bundle

BASE = {"config.json": "{}\n", "weights/a.bin": "aaaa\n", "weights/b.bin": "bbbb\n", "README.md": "# model\n"}
"""What clones that are in step hold at first."""


class Pair(NamedTuple):
    """Two clones of one remote, both at the same version."""

    a: Bundle
    b: Bundle
    remote: str


def pair_on(remote: str, directory: Path) -> Pair:
    """Two clones of `remote`, which is new, in step at `BASE`; they are `a` and `b` in `directory`."""
    a = Bundle.create(directory / "a", remote, BASE)
    a.push()
    return Pair(a, Bundle.clone(remote, directory / "b"), remote)
