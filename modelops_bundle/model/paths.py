"""The one validator of paths from outside: index, title, tar entry, command line (DESIGN §5).

The Windows rules (naming files: reserved names, forbidden characters, trailing dot or space) apply on every
platform, so that what one user pushes every other user can pull.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

from modelops_bundle.errors import UnsafePath

MAX_COMPONENT = 255
"""Bytes of one name: the limit of ext4, APFS, NTFS alike."""
MAX_PATH = 4096
MAX_HOPS = 40
"""Links followed for one path before it counts as a loop, as Linux does (path_resolution(7))."""

RESERVED_DIRECTORIES = (".git", ".modelops-bundle", ".bundle")
TEMPORARY_PREFIX = ".~bundle-"

_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{name}{digit}" for name in ("com", "lpt") for digit in "0123456789¹²³"]
)
# Nothing that any rule below looks at: no leading dot, no "~", no blank, ASCII only, short.
_PLAIN = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_-]{0,63})(?:\.[A-Za-z0-9_-]{1,16}){0,8}")
_FORBIDDEN = frozenset('<>:"|?*\\')
_CONTROL_CATEGORIES = frozenset(["Cc", "Cs", "Zl", "Zp"])
# Bidirectional controls can make a name read as another one (CVE-2021-42574); the joiners U+200C/D stay allowed.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
# HFS+ ignores these inside names, so ".g\u200cit" opens ".git" there (CVE-2014-9390).
_HFS_IGNORED = frozenset(
    "\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u206a\u206b\u206c\u206d\u206e\u206f\ufeff"
)


def validate(path: str) -> str:
    """Return `path` when it may be created on anybody's disk.

    :raises UnsafePath: absolute, `..`, empty component, drive, backslash, NUL, control or bidi character, reserved
        Windows name, trailing dot or space, not NFC, too long, or inside a reserved directory in any spelling.
    """
    reason = problem(path)
    if reason is not None:
        raise UnsafePath(f"unsafe path {display(path)}: {reason}", path=display(path), reason=reason)
    return path


def problem(path: str) -> str | None:
    """Why `path` is refused, None when it is fine."""
    if not path or path.startswith("/"):
        return "it is empty or absolute"
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        return f"it is longer than {MAX_PATH} bytes"
    if not path.isascii() and unicodedata.normalize("NFC", path) != path:
        return "it is not in Unicode normalization form C"
    for component in path.split("/"):
        reason = _component_problem(component)
        if reason is not None:
            return reason
    return None


@lru_cache(maxsize=16384)
def _component_problem(name: str) -> str | None:
    plain = _PLAIN.fullmatch(name)
    if plain is not None and plain[1].lower() not in _WINDOWS_DEVICES:
        return None
    if name in ("", ".", ".."):
        return f"it has the component {name!r}"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_COMPONENT:
        return f"a name in it is longer than {MAX_COMPONENT} bytes"
    if any(character in _FORBIDDEN for character in name):
        return 'it has a character that Windows forbids (one of < > : " | ? * \\)'
    if any(unicodedata.category(c) in _CONTROL_CATEGORIES or c in _BIDI for c in name):
        return "it has a control or bidirectional character, or bytes that are not UTF-8"
    if name[-1] in ". ":
        return "a name in it ends in a dot or a space"
    if name.split(".", maxsplit=1)[0].rstrip(" ").lower() in _WINDOWS_DEVICES:
        return "a name in it is reserved on Windows"
    if name.startswith(TEMPORARY_PREFIX):
        return "names of that form are our temporary files"
    return _reserved(name)


def _reserved(name: str) -> str | None:
    plain = "".join(c for c in name if c not in _HFS_IGNORED)
    folded = fold(plain).rstrip(". ")
    for reserved in RESERVED_DIRECTORIES:
        # git~1, modelo~1: the 8.3 short names NTFS makes for them.
        short = reserved.lstrip(".")[:6]
        if folded == reserved or (folded.startswith(f"{short}~") and folded[len(short) + 1 :].isdigit()):
            return f"{reserved} is reserved"
    return None


def fold(path: str) -> str:
    """The spelling under which case-insensitive, normalising file systems compare names."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", path).casefold())


def validate_tree(paths: Iterable[str]) -> None:
    """Validate every path, and that all of them can exist in one tree together.

    :raises UnsafePath: a path is refused, occurs twice, collides with another by case or normalisation, or needs a
        directory where another entry is.
    """
    seen: dict[str, str] = {}
    directories: dict[str, str] = {}
    for path in paths:
        validate(path)
        folded = fold(path)
        if folded in seen:
            raise UnsafePath(
                f"{display(path)} and {display(seen[folded])} are the same name on some file systems",
                path=display(path),
                other=display(seen[folded]),
            )
        seen[folded] = path
        _note_parents(path, directories)
    for folded, path in seen.items():
        if folded in directories:
            raise UnsafePath(f"{display(path)} is both an entry and a directory of others", path=display(path))


def _note_parents(path: str, directories: dict[str, str]) -> None:
    parent = path.rpartition("/")[0]
    while parent:
        folded = fold(parent)
        known = directories.get(folded)
        if known == parent:
            return
        if known is not None:
            raise UnsafePath(
                f"directories {display(parent)} and {display(known)} are the same on some file systems",
                path=display(parent),
                other=display(known),
            )
        directories[folded] = parent
        parent = parent.rpartition("/")[0]


def link_problem(path: str, target: str) -> str | None:
    """Why a link at `path` may not point to `target`: it must stay inside the tree. None when it may.

    The target is resolved by its text (POSIX path resolution without following other links).
    """
    if not target or "\0" in target:
        return "its target is empty or has a NUL"
    if target.startswith("/") or "\\" in target or (len(target) > 1 and target[1] == ":"):
        return "its target is absolute"
    depth = path.count("/")
    for component in target.split("/"):
        if component == "..":
            depth -= 1
        elif component not in ("", "."):
            if reserved := _reserved(component):
                return f"its target: {reserved}"
            depth += 1
        if depth < 0:
            return "its target is outside the bundle"
    if any(unicodedata.category(c) in _CONTROL_CATEGORIES for c in target):
        return "its target has a control character, or bytes that are not UTF-8"
    return None


def links_problem(links: Mapping[str, str]) -> tuple[str, str] | None:
    """The first of `links` (path to target) that leaves the tree, by itself or through another one, and why."""
    for path in sorted(links):
        reason = link_problem(path, links[path]) or _resolved_problem(path, links)
        if reason is not None:
            return path, reason
    return None


def _resolved_problem(path: str, links: Mapping[str, str]) -> str | None:
    """Follow the link at `path` component by component, other links of the tree included."""
    at = path.split("/")[:-1]
    todo = links[path].split("/")[::-1]
    hops = 0
    while todo:
        component = todo.pop()
        if component in ("", "."):
            continue
        if component == "..":
            if not at:
                return "its target is outside the bundle, through another link"
            at.pop()
            continue
        target = links.get("/".join([*at, component]))
        if target is None:
            at.append(component)
            continue
        hops += 1
        if hops > MAX_HOPS:
            # A loop leads nowhere, and so not outside.
            return None
        todo += target.split("/")[::-1]
    return None


def display(path: str) -> str:
    """`path` made safe for a terminal: control, bidi and undecodable characters escaped."""
    return "".join(
        c if c.isprintable() and c not in _BIDI else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in path[:500]
    )


def parents(path: str) -> list[str]:
    """Every directory above `path` in its tree, outermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]
