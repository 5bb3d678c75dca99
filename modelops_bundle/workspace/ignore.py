"""Which paths of a working tree are ignored: gitignore(5) with `.modelopsignore` files.

Reads nothing itself: the caller hands in a function that returns the bytes of an ignore file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from modelops_bundle.workspace.gitpattern import Pattern, from_bytetext, parse, parse_line, to_bytetext

IGNORE_FILE = ".modelopsignore"
BUILT_IN = "built-in default"
EXTRA = "extra pattern"

# Not here on purpose: dist/, build/ and env/, which are names of real model directories.
# ".git" has no slash because a worktree has a file of that name.
DEFAULTS: tuple[str, ...] = (
    ".git",
    ".hg/",
    ".svn/",
    ".modelops-bundle/",
    ".~bundle-*",
    "__pycache__/",
    "*.py[cod]",
    "*.egg-info/",
    ".venv/",
    "venv/",
    "node_modules/",
    ".idea/",
    ".vscode/",
    "*.swp",
    "*.swo",
    "*~",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    ".ipynb_checkpoints/",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".tox/",
    ".coverage",
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that decides a path.

    `pattern` is the line as written, without its line end and unquoted trailing blanks. `source` is the ignore file's
    POSIX path from the root, "built-in default" or "extra pattern"; `line` counts from 1 (among the extra patterns as
    well) and is 0 for a built-in default. `negated`: it starts with `!`.
    """

    pattern: str
    source: str
    line: int
    negated: bool

    @property
    def explained(self) -> str:
        """The rule and where it stands, for people."""
        where = f"{self.source}:{self.line}" if self.line else self.source
        return f"{self.pattern!r} ({where})"


_Numbered = tuple[int, Pattern]  # the place in the file, higher wins


class _Globs:
    """Patterns that only a regular expression can decide.

    Most paths match none of them, and one alternation of a block of patterns finds that out. It has no groups to tell
    which one matched: every group costs each step of the search, so that is asked pattern by pattern, the last first.
    """

    __slots__ = ("_blocks", "_each", "highest")

    _BLOCK = 50

    def __init__(self, patterns: Iterable[_Numbered]) -> None:
        last_first = sorted(((place, p.regex) for place, p in patterns if p.regex is not None), reverse=True)
        blocks = [last_first[at : at + self._BLOCK] for at in range(0, len(last_first), self._BLOCK)]
        self._blocks = [(re.compile("|".join(regex for _, regex in block)).match, block) for block in blocks]
        self._each: dict[str, re.Pattern[str]] = {}
        self.highest = last_first[0][0] if last_first else -1

    def find(self, subject: str) -> int:
        """The place of the last pattern that matches, -1 for none."""
        for match, block in self._blocks:
            if match(subject):
                return next(place for place, regex in block if self._compiled(regex).match(subject))
        return -1

    def _compiled(self, regex: str) -> re.Pattern[str]:
        if regex not in self._each:  # the cache of `re` is too small for long files
            self._each[regex] = re.compile(regex)
        return self._each[regex]


class _Table:
    """The patterns of one ignore file that apply to files, or to directories, arranged for look-up.

    Literals and suffixes, nearly all of any real file, cost a dictionary look-up whatever their number.
    """

    __slots__ = ("_globs", "_literals", "_path_globs", "_path_literals", "_suffixes", "has_paths")

    def __init__(self, patterns: Sequence[_Numbered]) -> None:
        names = [(place, p) for place, p in patterns if p.by_name]
        paths = [(place, p) for place, p in patterns if not p.by_name]
        self._literals = {p.literal: place for place, p in names if p.literal is not None}
        self._suffixes = _by_length(names)
        self._globs = _Globs(names)
        self._path_literals = {p.literal: place for place, p in paths if p.literal is not None}
        self._path_globs = _Globs(paths)
        self.has_paths = bool(paths)

    def find(self, name: str, path: str) -> int:
        """The place of the last pattern that matches, -1 for none."""
        best = self._literals.get(name, -1)
        for tail, suffixes in self._suffixes:
            if (end := name[tail]) in suffixes:
                best = max(best, suffixes[end])
        if self._globs.highest > best:
            best = max(best, self._globs.find(name))
        return self._find_path(path, best) if self.has_paths else best

    def _find_path(self, path: str, best: int) -> int:
        best = max(best, self._path_literals.get(path, -1))
        return max(best, self._path_globs.find(path)) if self._path_globs.highest > best else best


def _by_length(patterns: Iterable[_Numbered]) -> list[tuple[slice, dict[str, int]]]:
    lengths: dict[int, dict[str, int]] = {}
    for place, pattern in patterns:
        if pattern.suffix is not None:
            lengths.setdefault(len(pattern.suffix), {})[pattern.suffix] = place
    return [(slice(-length, None), places) for length, places in lengths.items()]


class _Level:
    """The rules of one ignore file, and how much of a path to cut off to make it relative to that file."""

    __slots__ = ("cut", "directories", "files", "rules")

    def __init__(self, cut: int, rules: Sequence[tuple[Rule, Pattern]]) -> None:
        numbered = [(place, pattern) for place, (_, pattern) in enumerate(rules)]
        self.cut = cut
        self.rules = [rule for rule, _ in rules]
        self.directories = _Table(numbered)
        self.files = _Table([(place, pattern) for place, pattern in numbered if not pattern.only_directories])


@dataclass(frozen=True, slots=True)
class _Directory:
    """What is known of a directory: the rule that ignores it, or the levels that decide its content, nearest first."""

    ignored_by: Rule | None
    levels: tuple[_Level, ...] = ()


class Ignore:
    """Decides paths by the rules of gitignore(5); lowest to highest: built-in defaults, `extra`, root file, nested ones.

    Each directory is decided once and remembered, so ask in one instance for one walk and make a new one when ignore
    files may have changed. Not for use by several threads at a time.
    """

    def __init__(
        self, read: Callable[[str], bytes | None], *, defaults: bool = True, extra: Sequence[str] = ()
    ) -> None:
        """`read(path)` returns the bytes of an ignore file by its POSIX path from the root, e.g. ".modelopsignore" or
        "a/b/.modelopsignore", or None when absent (symlinked ignore files are the caller's business). Called at most
        once for each directory, lazily, and never for an ignored one; what it raises passes through.

        `extra`: patterns as they would stand on lines of an ignore file.
        """
        self._read = read
        self._directories: dict[str, _Directory] = {}
        self._outermost: list[tuple[Rule, Pattern]] = []
        if defaults:
            self._outermost += _fixed_rules(BUILT_IN, ((0, line) for line in DEFAULTS))
        self._outermost += _fixed_rules(EXTRA, enumerate(extra, start=1))

    def match(self, path: str, is_dir: bool) -> Rule | None:
        """The rule that decides `path` (POSIX, relative to the root, normalised), only if the outcome is IGNORED; None
        when it is not. Takes parents into account: a path under an ignored directory is ignored, by the parent's rule,
        and no negation brings it back. The root itself ("") is never ignored. A link to a directory is not a directory.
        """
        if not path:
            return None
        if not path.isascii():
            path = to_bytetext(path)
        parent, _, name = path.rpartition("/")
        directory = self._directories.get(parent) or self._enter(parent)
        return directory.ignored_by or _decide(directory.levels, name, path, is_dir)

    def ignored(self, path: str, is_dir: bool) -> bool:
        """Whether `match` finds a rule."""
        return self.match(path, is_dir) is not None

    def _enter(self, path: str) -> _Directory:
        """Decides the directory `path` (byte text) after all its parents; a loop, as paths may be deeper than stacks."""
        todo = [path]
        while todo[-1] and todo[-1] not in self._directories:
            todo.append(todo[-1].rpartition("/")[0])
        directory = self._directories.get(todo[-1])
        for each in reversed(todo):
            if each not in self._directories:
                self._directories[each] = self._visit(each, directory)
            directory = self._directories[each]
        return self._directories[path]

    def _visit(self, path: str, parent: _Directory | None) -> _Directory:
        if parent is None:
            return _Directory(None, self._levels(path, self._outermost))
        if parent.ignored_by is not None:
            return parent
        rule = _decide(parent.levels, path.rpartition("/")[2], path, is_dir=True)
        return _Directory(rule) if rule else _Directory(None, self._levels(path, []) + parent.levels)

    def _levels(self, path: str, below: list[tuple[Rule, Pattern]]) -> tuple[_Level, ...]:
        """The level that the ignore file of directory `path` adds, if any; `below` are rules it overrides."""
        file = from_bytetext(f"{path}/{IGNORE_FILE}" if path else IGNORE_FILE)
        lines = parse(self._read(file) or b"")
        rules = below + [(_rule(pattern, file, number), pattern) for number, pattern in lines]
        return (_Level(len(path) + 1 if path else 0, rules),) if rules else ()


def _decide(levels: tuple[_Level, ...], name: str, path: str, is_dir: bool) -> Rule | None:
    for level in levels:
        table = level.directories if is_dir else level.files
        place = table.find(name, path[level.cut :] if table.has_paths else "")
        if place >= 0:
            rule = level.rules[place]
            return None if rule.negated else rule
    return None


def _fixed_rules(source: str, lines: Iterable[tuple[int, str]]) -> list[tuple[Rule, Pattern]]:
    patterns = ((number, parse_line(to_bytetext(line))) for number, line in lines)
    return [(_rule(pattern, source, number), pattern) for number, pattern in patterns if pattern is not None]


def _rule(pattern: Pattern, source: str, line: int) -> Rule:
    return Rule(from_bytetext(pattern.shown), source, line, pattern.negated)
