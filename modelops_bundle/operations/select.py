"""Paths and patterns from the command line, matched against what there is."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from unicodedata import normalize

from modelops_bundle.errors import NoMatch, UsageError
from modelops_bundle.model.paths import display
from modelops_bundle.model.roles import translate_glob
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace.project import Project

_GLOB = frozenset("*?[")


def relative(session: Session, word: str) -> str:
    """The bundle path that `word` (relative to the current directory, or absolute) spells; `""` is the root.

    :raises NoMatch: outside of the bundle. :raises UsageError: empty, as an unset variable is: never the whole tree.
    """
    if not word:
        raise UsageError("an empty path", hint="'.' is the whole tree")
    joined = os.path.normpath(os.path.join(session.cwd, word))  # noqa: PTH118 - many words, and Path takes its time
    root = os.path.join(session.project.root, "")  # noqa: PTH118 - as above
    if f"{joined}{os.sep}".startswith(root):
        found = joined[len(root) :].replace(os.sep, "/")
    else:
        # Another way to the same place (/tmp on macOS, a home behind a link): all but the last name may be links.
        real = Project(Path(os.path.realpath(session.project.root)))
        found = real.relative(Path(os.path.realpath(Path(joined).parent)) / Path(joined).name)
    return normalize("NFC", found)


def is_pattern(word: str) -> bool:
    """Whether `word` has wildcards."""
    return any(character in _GLOB for character in word)


def matching(session: Session, word: str, candidates: Collection[str]) -> list[str]:
    """Those of `candidates` that `word` names: the path itself, what is below it, or what the pattern matches."""
    path = relative(session, word)
    if path in candidates:
        return [path]
    prefix = f"{path}/" if path else ""
    below = [candidate for candidate in candidates if candidate.startswith(prefix)]
    if below or not is_pattern(word):
        return below
    pattern = re.compile(translate_glob(path), re.DOTALL)
    found = [candidate for candidate in candidates if pattern.fullmatch(candidate)]
    return found or [candidate for candidate in candidates if _directory_matches(pattern, candidate)]


def _directory_matches(pattern: re.Pattern[str], candidate: str) -> bool:
    directory = candidate.rpartition("/")[0]
    while directory:
        if pattern.fullmatch(directory):
            return True
        directory = directory.rpartition("/")[0]
    return False


def require_all(session: Session, words: Sequence[str], candidates: Collection[str], what: str) -> list[str]:
    """Every path that the words name, sorted.

    :param what: names the candidates in messages.
    :raises NoMatch: a word names none of `candidates`; decided before anything is done.
    """
    found: set[str] = set()
    for word in words:
        matched = matching(session, word, candidates)
        if not matched:
            raise NoMatch(f"{display(word)} matches no {what}", path=display(word))
        found.update(matched)
    return sorted(found)
