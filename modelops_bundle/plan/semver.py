"""The next release tag (semver.org 2.0.0; DESIGN §6 `--bump`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Part = Literal["major", "minor", "patch"]
_RELEASE = re.compile(r"(v?)(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
FIRST = "0.1.0"


def bump(tags: Iterable[str], part: Part) -> str:
    """The tag after the highest release among `tags`: its `v` is kept, pre-releases and other tags do not count.

    Without any release the first is 0.1.0, whatever the part.
    """
    releases = [
        (tuple(int(n) for n in match.groups()[1:]), match[1]) for match in map(_RELEASE.fullmatch, tags) if match
    ]
    if not releases:
        return FIRST
    (major, minor, patch), prefix = max(releases)
    if part == "major":
        return f"{prefix}{major + 1}.0.0"
    if part == "minor":
        return f"{prefix}{major}.{minor + 1}.0"
    return f"{prefix}{major}.{minor}.{patch + 1}"
