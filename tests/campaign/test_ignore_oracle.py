"""The ignore matcher against its oracle: random patterns on real trees, every path also asked of `git check-ignore`.

100,000 paths with BUNDLE_CAMPAIGN=1, a twentieth of that otherwise. A failure prints the seed's smallest disagreements:
ignore files, path, git's answer, ours.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelops_bundle.workspace.gitpattern import from_bytetext, parse, to_bytetext
from modelops_bundle.workspace.ignore import IGNORE_FILE, Ignore, Rule

pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="the oracle is git"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs a file system where any bytes make a name"),
]

CHECKS = 100_000 if os.environ.get("BUNDLE_CAMPAIGN") == "1" else 5_000
SEED = 20_251_120
CASES_A_CALL = 60


# --- cases -----------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """A tree (directories end in a slash) and its ignore files by directory ("" is the root)."""

    paths: list[str]
    files: dict[str, bytes]


@dataclass(frozen=True)
class Style:
    """What the generator draws from; weights are repetitions."""

    name_chars: Sequence[str]
    junk: Sequence[str]
    line_ends: Sequence[bytes]
    heads: Sequence[str]
    tails: Sequence[str]
    wildness: float


ORDINARY = Style(
    name_chars=[*"aaabbc.x", "é"],
    junk=["a", "b", "*", "?", "/", ".", "**"],
    line_ends=[b"\n"],
    heads=[""] * 6 + ["!", "!", "/", "/", "**/", "#"],
    tails=[""] * 6 + ["/", "/", "/**", "/*", "*"],
    wildness=0.25,
)
WILD = Style(
    name_chars=[*"aaaabbbbcz-]![^\\*?# ~:1A.=\t\r", "é", "日", "\udcff", "\udcc3"],
    junk=[
        *"aabb*?/!-]^[[\\\\# \t:~\r",
        *"** *** **/ /** [a-c] [!b] [^ [] [] [[: :] [\\]a-] é \udcc3 [\udcc3] [é] [[:alpha:]] [[:space:]-z]".split(" "),
        "\\ ",
        "  ",
    ],
    line_ends=[b"\n"] * 8 + [b"\r\n", b"\r\n", b"\r\r\n", b" \n", b"  \r\n", b"\\ \n", b"\n\n"],
    heads=[""] * 8 + ["!", "!", "/", "/", "**/", "***/", "#", "!!", "\\", "//", " ", "\ufeff", "!/", "**"],
    tails=[""] * 8 + ["/", "/", "//", "/**", "/***", "/*", "*", " ", "\\ ", "\\", "**/", "/ ", "\t", "**", "[", "]"],
    wildness=0.5,
)
GLOBS = ["*", "**", "?", "***", "*?", "[a-c]", "[!a]"]
CLASSES = "alnum alpha blank cntrl digit graph lower print punct space upper xdigit".split()


def _name(rng: random.Random, style: Style) -> str:
    while True:
        name = "".join(rng.choice(style.name_chars) for _ in range(rng.choice((1, 1, 2, 2, 3, 4))))
        if name not in (".", "..", ".git", ".gitignore"):
            return os.fsdecode(os.fsencode(name))


def _tree(rng: random.Random, style: Style) -> list[str]:
    directories = [""]
    for _ in range(rng.randint(2, 9)):
        directories.append(rng.choice(directories[-4:]) + _name(rng, style) + "/")
    files = {rng.choice(directories) + _name(rng, style) for _ in range(rng.randint(8, 24))}
    known = set(directories)
    return sorted(known - {""}) + sorted(path for path in files if path + "/" not in known)


def _bracket(rng: random.Random) -> str:
    """A bracket expression that is well formed more often than not."""
    items = []
    for _ in range(rng.randint(0, 4)):
        kind = rng.random()
        if kind < 0.2:
            items.append(f"[:{rng.choice([*CLASSES, *CLASSES, 'nope', ''])}:]")
        elif kind < 0.5:
            items.append(rng.choice("aA!+]\\\udcc3") + "-" + rng.choice("czZ~]\\[\udcff"))
        else:
            items.append(rng.choice([*"abcz1.-]![^\\:/* ", "é", "\\]", "\\a", "\\-"]))
    return "[" + rng.choice(("", "", "!", "^")) + "".join(items) + rng.choice(("]", "]", "]", "]", ":]", ""))


def _mutated(rng: random.Random, style: Style, text: str) -> str:
    chars = list(text)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5))):
        at = rng.randrange(len(chars) + 1)
        until = min(len(chars), at + rng.choice((0, 1, 1, 1, 2)))
        kind = rng.random()
        if kind < style.wildness:
            put = rng.choice(style.junk)
        elif kind < 0.6 and style is WILD:
            put = "\\" + "".join(chars[at : at + 1])
        elif kind < 0.75 and style is WILD:
            put = _bracket(rng)
        else:
            put = rng.choice(GLOBS)
        chars[at:until] = [put]
    return "".join(chars)


def _pattern(rng: random.Random, style: Style, paths: Sequence[str]) -> str:
    """Mostly a path of the tree, or a part of it, with pieces replaced, so that most patterns hit something."""
    if rng.random() < 0.1:
        return "".join(rng.choice(style.junk) for _ in range(rng.randint(0, 7)))
    parts = rng.choice(paths).rstrip("/").split("/")
    kind = rng.random()
    if kind < 0.5:
        text = rng.choice(parts)
    else:
        cut = rng.randrange(len(parts))
        text = "/".join(parts[cut:] if kind < 0.6 else parts[: cut + 1] if kind < 0.8 else parts)
        if rng.random() < 0.4:
            pieces = text.split("/")
            pieces[rng.randrange(len(pieces))] = rng.choice(("**", "*", "**", "a**", "**b", "***", "**\\", "\\**"))
            text = "/".join(pieces)
    return rng.choice(style.heads) + _mutated(rng, style, text) + rng.choice(style.tails)


def _ignore_file(rng: random.Random, style: Style, below: Sequence[str]) -> bytes:
    lines = [
        os.fsencode(_pattern(rng, style, below).replace("\n", "")) + rng.choice(style.line_ends)
        for _ in range(rng.randint(1, 6))
    ]
    data = b"".join(lines)
    if rng.random() < 0.3:
        data = data.removesuffix(b"\n")
    if style is WILD and rng.random() < 0.1:
        data = b"\xef\xbb\xbf" + data
    return data


def make_case(rng: random.Random, style: Style) -> Case:
    while not (paths := _tree(rng, style)):
        pass
    files = {"": _ignore_file(rng, style, paths)}
    for directory in (path for path in paths if path.endswith("/")):
        below = [path[len(directory) :] for path in paths if path.startswith(directory) and path != directory]
        if below and rng.random() < 0.25:
            files[directory] = _ignore_file(rng, style, below)
    return Case(paths, files)


def make_cases(seed: int, checks: int) -> Iterator[list[Case]]:
    """Lists of cases, each list for one call of git, until the trees hold `checks` paths."""
    rng = random.Random(seed)
    made = 0
    while made < checks:
        batch = []
        for _ in range(CASES_A_CALL):
            batch.append(make_case(rng, WILD if rng.random() < 0.6 else ORDINARY))
            made += len(batch[-1].paths)
            if made >= checks:
                break
        yield batch


# --- the oracle ------------------------------------------------------------------------------------------------------


class Oracle:
    """`git check-ignore` over a repository that holds each case in a directory of its own, or one case in its root."""

    def __init__(self, root: Path) -> None:
        self.root = root / "repository"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "HOME": os.fspath(root),
            "XDG_CONFIG_HOME": os.fspath(root),
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
        }

    def answers(self, cases: Sequence[Case], *, in_root: bool = False) -> list[list[Rule | None]]:
        """For every path of every case the rule that ignores it, or None. `in_root` is for a single case."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        self._git(["init", "-q", "--template="], b"")
        tops = [""] if in_root else [f"c{number}/" for number in range(len(cases))]
        for top, case in zip(tops, cases, strict=True):
            self._write(top, case)
        asked = [top + path.rstrip("/") for top, case in zip(tops, cases, strict=True) for path in case.paths]
        output = self._git(
            ["check-ignore", "--no-index", "-z", "--stdin", "-v", "-n"],
            b"".join(b"./" + os.fsencode(path) + b"\0" for path in asked),  # bare, ":x" would be pathspec magic
        )
        fields = os.fsdecode(output).split("\0")
        assert len(fields) == 4 * len(asked) + 1, "git answered fewer paths than asked"
        rules = iter([_rule(*fields[at : at + 3]) for at in range(0, len(fields) - 1, 4)])
        return [[_inside(next(rules), top) for _ in case.paths] for top, case in zip(tops, cases, strict=True)]

    def _git(self, arguments: Sequence[str], data: bytes) -> bytes:
        command = ["git", "-c", "core.excludesFile=", "-c", "core.ignoreCase=false", *arguments]
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, input=data, capture_output=True, timeout=300, check=False
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def _write(self, top: str, case: Case) -> None:
        os.makedirs(self.root / top, exist_ok=True)
        for path in case.paths:
            if path.endswith("/"):
                os.makedirs(self.root / (top + path), exist_ok=True)
            else:
                (self.root / (top + path)).touch()
        for directory, data in case.files.items():
            (self.root / (top + directory) / ".gitignore").write_bytes(data)


def _rule(source: str, line: str, pattern: str) -> Rule | None:
    if not source or pattern.startswith("!"):
        return None
    return Rule(pattern, source.removesuffix(".gitignore") + IGNORE_FILE, int(line), negated=False)


def _inside(rule: Rule | None, top: str) -> Rule | None:
    return rule and replace(rule, source=rule.source.removeprefix(top))


# --- the comparison --------------------------------------------------------------------------------------------------

Answer = Callable[[Case], list[Rule | None]]


def ours(case: Case) -> list[Rule | None]:
    ignore = Ignore(_reader(case), defaults=False)
    return [ignore.match(path.rstrip("/"), path.endswith("/")) for path in case.paths]


def _reader(case: Case) -> Callable[[str], bytes | None]:
    return lambda path: case.files.get(path.removesuffix(IGNORE_FILE))


@dataclass
class Outcome:
    checks: int = 0
    ignored: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, case: Case, expected: Sequence[Rule | None], got: Sequence[Rule | None]) -> None:
        for path, want, have in zip(case.paths, expected, got, strict=True):
            self.checks += 1
            self.ignored += want is not None
            if want != have:
                self.wrong.append(f"{case.files!r} {path!r}\n  git:  {want}\n  ours: {have}")


def compare(oracle: Oracle, seed: int, checks: int, answer: Answer = ours) -> Outcome:
    outcome = Outcome()
    for number, batch in enumerate(make_cases(seed, checks)):
        for case, expected in zip(batch, oracle.answers(batch), strict=True):
            outcome.add(case, expected, answer(case))
        if number % 5 == 0:  # the root of the repository is a case of its own: no directory above the first ignore file
            outcome.add(batch[0], oracle.answers(batch[:1], in_root=True)[0], answer(batch[0]))
    return outcome


def _report(outcome: Outcome) -> str:
    worst = "\n".join(sorted(outcome.wrong, key=len)[:5])
    return f"{len(outcome.wrong)} of {outcome.checks} paths wrong with seed {SEED}\n{worst}"


# --- tests -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def oracle(tmp_path: Path) -> Iterator[Oracle]:
    yield Oracle(tmp_path)
    shutil.rmtree(tmp_path / "repository", ignore_errors=True)


def test_every_path_is_decided_as_git_decides_it_and_by_the_same_rule(oracle: Oracle) -> None:
    outcome = compare(oracle, SEED, CHECKS)
    assert not outcome.wrong, _report(outcome)
    assert outcome.checks >= CHECKS
    # A campaign in which hardly anything, or nearly everything, is ignored shows little.
    assert 0.2 < outcome.ignored / outcome.checks < 0.8


def _only_the_root_file(case: Case) -> list[Rule | None]:
    return ours(Case(case.paths, {"": case.files[""]}))


def _without_negations(case: Case) -> list[Rule | None]:
    return ours(Case(case.paths, {d: data.replace(b"\n!", b"\n#") for d, data in case.files.items()}))


def _parents_forgotten(case: Case) -> list[Rule | None]:
    """Patterns right, but a path is asked as if its parents were never ignored: the commonest mistake of libraries."""
    return [_last_match(case, path) for path in case.paths]


def _last_match(case: Case, path: str) -> Rule | None:
    text, is_dir = to_bytetext(path.rstrip("/")), path.endswith("/")
    for directory in sorted(case.files, key=len, reverse=True):
        base = to_bytetext(directory)
        for line, pattern in reversed(list(parse(case.files[directory]))) if text.startswith(base) else ():
            subject = text.rpartition("/")[2] if pattern.by_name else text.removeprefix(base)
            if pattern.matches(subject) and (is_dir or not pattern.only_directories):
                shown = from_bytetext(pattern.shown)
                return None if pattern.negated else Rule(shown, directory + IGNORE_FILE, line, False)
    return None


def _all_directories(case: Case) -> list[Rule | None]:
    ignore = Ignore(_reader(case), defaults=False)
    return [ignore.match(path.rstrip("/"), True) for path in case.paths]


def _line_off_by_one(case: Case) -> list[Rule | None]:
    return [rule and replace(rule, line=rule.line + 1) for rule in ours(case)]


@pytest.mark.parametrize(
    "broken",
    [_only_the_root_file, _without_negations, _parents_forgotten, _all_directories, _line_off_by_one],
)
def test_the_comparison_finds_a_broken_matcher(oracle: Oracle, broken: Answer) -> None:
    assert compare(oracle, SEED, 2_000, broken).wrong


def _hostile_patterns() -> Iterator[tuple[str, str]]:
    """(pattern, path) pairs on which a backtracking matcher takes exponential or high polynomial time."""
    for stars in (7, 20, 60):
        yield "*a" * stars + "b", "a" * 120
        yield "x/" + "*a" * stars + "b", "x/" + "a" * 120
        yield "*[ab]" * stars + "c", "ab" * 100
        yield "*?" * stars + "b", "a" * 200
        yield "**/a/" * stars + "b", "a/" * 300 + "c"
        yield "**/*a*/" * stars + "b", "aaa/" * 300 + "c"
        yield "/a" + "**/a" * stars + "/b", "a/" * 300 + "c"
        yield "**/" * stars + "b", "a/" * 300 + "c"
        yield "a/**/" * stars + "*", "a/" * 5 + "c"
        yield "*/" * stars + "b", "a/" * stars + "c"
        yield "***" * stars + "b", "a" * 200
        yield "*" + "a" * stars + "*" + "a" * stars + "b", "a" * 250
        yield "**\\/" + "a/**\\/" * stars + "b", "a/" * 300 + "c"


@pytest.mark.parametrize("negated", ["", "!"])
def test_no_hostile_pattern_hangs_the_matcher(negated: str) -> None:
    for pattern, path in _hostile_patterns():
        data = f"{negated}{pattern}\n".encode()
        assert Ignore({IGNORE_FILE: data}.get, defaults=False).match(path, False) is None, pattern


def test_hostile_patterns_together_do_not_hang_the_matcher() -> None:
    data = "\n".join(pattern for pattern, _ in _hostile_patterns()).encode()
    ignore = Ignore({IGNORE_FILE: data}.get, defaults=False)
    for _, path in _hostile_patterns():
        ignore.match(path, False)


def test_random_junk_of_special_characters_neither_raises_nor_hangs() -> None:
    rng = random.Random(SEED)
    paths = ["a" * 100, "a/" * 100 + "a", "]" * 50, "[a]/**/b", "\\", "ab/" * 20 + "é\udcff"]
    for _ in range(CHECKS // 50):
        data = bytes(rng.choice(b"**??//[[]]!!^^--\\\\::ab \r\n\0\xc3\xff") for _ in range(rng.randint(1, 200)))
        ignore = Ignore({IGNORE_FILE: data}.get, defaults=False)
        for path in paths:
            ignore.match(path, False)
