"""One line of an ignore file as a matching rule: the pattern language of gitignore(5).

Written from the gitignore(5) manual page; what the page leaves open was settled by asking `git check-ignore` (2.39.5).
`docs/decisions/0003-ignore-matcher.md` lists those points.

Everything here works on *byte text*: a `str` with one character for each byte, because `?` and brackets match one byte
of a UTF-8 name, not one character. ASCII text is its own byte text.

No pattern can make matching explode: the work is bounded by the length of the pattern times that of the path. Within
one path component the pieces between two `*` have a fixed length, and the run of components between two `**` a fixed
number, so taking the leftmost place for each piece loses no match: every piece but the last goes into an atomic group
and is not tried again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

_BOM = b"\xef\xbb\xbf"
_SPECIAL = re.compile(r"[*?\[\\]")
_STARS = re.compile(r"\*+")
_NEVER = "(?!)"

_DIGIT = range(0x30, 0x3A)
_UPPER = range(0x41, 0x5B)
_LOWER = range(0x61, 0x7B)
_ALPHA = {*_UPPER, *_LOWER}
_ALNUM = {*_ALPHA, *_DIGIT}
_GRAPH = range(0x21, 0x7F)

# Observed byte by byte: independent of the locale, nothing above ASCII, and `space` has neither \v nor \f.
_CLASSES: dict[str, frozenset[int]] = {
    "alnum": frozenset(_ALNUM),
    "alpha": frozenset(_ALPHA),
    "blank": frozenset(b" \t"),
    "cntrl": frozenset({*range(0x20), 0x7F}),
    "digit": frozenset(_DIGIT),
    "graph": frozenset(_GRAPH),
    "lower": frozenset(_LOWER),
    "print": frozenset({0x20, *_GRAPH}),
    "punct": frozenset({*_GRAPH} - _ALNUM),
    "space": frozenset(b" \t\n\r"),
    "upper": frozenset(_UPPER),
    "xdigit": frozenset(b"0123456789abcdefABCDEF"),
}


def to_bytetext(text: str) -> str:
    """`text` (a path or pattern by the `os.fsdecode` convention) with one character for each byte of its UTF-8 form."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte: Windows has such names
        return text.encode("utf-8", "surrogatepass").decode("latin-1")


def from_bytetext(text: str) -> str:
    """The reverse of `to_bytetext`; bytes that are not UTF-8 become lone surrogates."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "surrogateescape")


class _Kind(Enum):
    CHAR = auto()  # this very byte
    SET = auto()  # one byte of a set; the text is a regular expression of it
    STAR = auto()  # any bytes but "/"
    SLASH = auto()
    TREE = auto()  # "**/": any number of directories, none included
    DEEPER = auto()  # "**\/": one directory or more
    REST = auto()  # a final "**": anything, slashes included


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str = ""


_ANY = _Token(_Kind.SET, "[^/]")
_DIRECTORIES = {_Kind.TREE: "(?:[^/]*/)*?", _Kind.DEEPER: "(?:[^/]*/)+?"}


@dataclass(frozen=True, slots=True)
class Pattern:
    r"""One pattern of an ignore file, ready for matching.

    `shown` is the line without its line end and unquoted trailing blanks; `negated` and `only_directories` are its `!`
    prefix and `/` suffix. `by_name` tells what it is matched against: the last component of a path, else the whole path
    relative to the ignore file's directory. Exactly one of these says what matches (all byte text):
    `literal` the subject equals it; `suffix` (never empty) the subject ends with it; `regex` it matches from the start to `\Z`.
    """

    shown: str
    negated: bool
    only_directories: bool
    by_name: bool
    literal: str | None = None
    suffix: str | None = None
    regex: str | None = None

    def matches(self, subject: str) -> bool:
        """Whether `subject` (byte text of a name or relative path, see `by_name`) matches, ignoring file or directory."""
        if self.literal is not None:
            return subject == self.literal
        if self.suffix is not None:
            return subject.endswith(self.suffix)
        return re.match(self.regex or _NEVER, subject) is not None


def parse(data: bytes) -> Iterator[tuple[int, Pattern]]:
    """The patterns of an ignore file with their line numbers, from 1. Never fails: a bad pattern matches nothing.

    A byte order mark is skipped at the start of the file only. A line ends at LF, or at the end of the file; one CR
    before that end belongs to it.
    """
    for number, line in enumerate(data.removeprefix(_BOM).split(b"\n"), start=1):
        pattern = parse_line(line.removesuffix(b"\r").decode("latin-1"))
        if pattern is not None:
            yield number, pattern


def parse_line(line: str) -> Pattern | None:
    """The pattern that `line` (byte text, no line end) holds; None for a blank line and a comment.

    Order matters and follows gitignore(5): comment, trailing blanks, `!`, final `/`, then the slashes that anchor.
    """
    shown = _without_trailing_blanks(line.partition("\0")[0])  # a NUL ends the line for git
    if not shown or shown.startswith("#"):
        return None
    negated = shown.startswith("!")
    glob = shown[negated:]
    only_directories = glob.endswith("/")
    glob = glob[: len(glob) - only_directories]
    by_name = "/" not in glob
    glob = glob.removeprefix("/")
    if not glob:
        return None
    tokens = _tokens(glob, by_name)
    if tokens is None:
        return Pattern(shown, negated, only_directories, by_name, regex=_NEVER)
    if not by_name and tokens[0].kind is _Kind.TREE and not _spans_directories(tokens[1:]):
        tokens, by_name = tokens[1:], True  # "**/foo" is "the same as pattern foo", which needs no path
    literal, suffix, regex = _matcher(tokens, by_name)
    return Pattern(shown, negated, only_directories, by_name, literal, suffix, regex)


def _without_trailing_blanks(line: str) -> str:
    if not line.endswith(" "):
        return line
    kept = 0
    position = 0
    while position < len(line):
        step = 2 if line[position] == "\\" else 1
        if line[position] != " ":
            kept = min(position + step, len(line))
        position += step
    return line[:kept]


def _spans_directories(tokens: list[_Token]) -> bool:
    return not tokens or any(token.kind not in (_Kind.CHAR, _Kind.SET, _Kind.STAR) for token in tokens)


# --- from text to tokens ---------------------------------------------------------------------------------------------


def _tokens(glob: str, by_name: bool) -> list[_Token] | None:
    """The tokens of `glob`, or None when it can match nothing (a dangling backslash, a bracket that is not one)."""
    special = _SPECIAL.search(glob)
    position = special.start() if special else len(glob)
    tokens = [_plain(char) for char in glob[:position]]
    # Observed: the text before the first special character is compared by itself, and the rest is matched as if it
    # stood at the start. So "a**/b" means "a" and then "**/b", which matches "ab" and "ax/y/b" alike.
    at_start = True
    while position < len(glob):
        char = glob[position]
        if char == "*":
            bounded = not by_name and (at_start or tokens[-1].kind is _Kind.SLASH)
            token, position = _star(glob, position, bounded)
        elif char == "[":
            bracket = _bracket(glob, position + 1)
            if bracket is None:
                return None
            token, position = bracket
        elif char == "\\":
            if position + 1 == len(glob):
                return None
            token, position = _plain(glob[position + 1]), position + 2
        else:
            token, position = (_ANY if char == "?" else _plain(char)), position + 1
        tokens.append(token)
        at_start = token.kind in _DIRECTORIES  # these took their slash along, so what follows stands after one
    return tokens


def _plain(char: str) -> _Token:
    return _Token(_Kind.SLASH) if char == "/" else _Token(_Kind.CHAR, char)


def _star(glob: str, start: int, bounded: bool) -> tuple[_Token, int]:
    """The run of stars at `start`: two or more between slashes span directories, every other run is one `*`."""
    run = _STARS.match(glob, start)
    end = run.end() if run else start
    if bounded and end - start > 1:
        if end == len(glob):
            return _Token(_Kind.REST), end
        if glob.startswith("/", end):
            return _Token(_Kind.TREE), end + 1
        if glob.startswith("\\/", end):
            return _Token(_Kind.DEEPER), end + 2
    return _Token(_Kind.STAR), end


def _bracket(glob: str, start: int) -> tuple[_Token, int] | None:
    """The bracket expression whose `[` is just before `start`, and where it ends; None when it never ends or is bad."""
    negated = glob[start : start + 1] in ("!", "^")
    first = position = start + negated
    members: set[int] = set()
    closed = 0
    while not (glob.startswith("]", position) and position > first):
        if glob.startswith("[:", position):
            closed = closed if closed >= position + 2 else glob.find("]", position + 2)  # not once for each "[:"
            item = _posix_class(glob, position, closed)
        else:
            item = _range(glob, position)
        if item is None:
            return None
        found, position = item
        members.update(found)
    return _byte_set(members, negated), position + 1


def _posix_class(glob: str, start: int, closed: int) -> tuple[Iterable[int], int] | None:
    """The class, like `[:alpha:]`, whose `[:` is at `start`, `closed` being the next `]` (-1: none).

    Unless that stands after a colon, the `[` is an ordinary member.
    """
    opened = start + 2
    if closed < 0:
        return None
    if closed == opened or glob[closed - 1] != ":":
        return (0x5B,), start + 1
    members = _CLASSES.get(glob[opened : closed - 1])
    return None if members is None else (members, closed + 1)


def _range(glob: str, start: int) -> tuple[Iterable[int], int] | None:
    """The single byte or range at `start`; the low end of a reversed range is a member all the same."""
    low = _member(glob, start)
    if low is None:
        return None
    byte, position = low
    if not glob.startswith("-", position) or glob.startswith("-]", position):
        return (byte,), position
    high = _member(glob, position + 1)
    if high is None:
        return None
    return (byte, *range(byte, high[0] + 1)), high[1]


def _member(glob: str, start: int) -> tuple[int, int] | None:
    quoted = start + glob.startswith("\\", start)
    return (ord(glob[quoted]), quoted + 1) if quoted < len(glob) else None


def _byte_set(members: set[int], negated: bool) -> _Token:
    chosen = sorted((set(range(256)) - members if negated else members) - {0x2F})  # a bracket never matches "/"
    return _Token(_Kind.SET, "[" + "".join(f"\\x{byte:02x}" for byte in chosen) + "]" if chosen else _NEVER)


# --- from tokens to a matcher ----------------------------------------------------------------------------------------


def _matcher(tokens: list[_Token], by_name: bool) -> tuple[str | None, str | None, str | None]:
    """(literal, suffix, regex) for `tokens`: the cheapest of the three, None for the others."""
    text = _text(tokens)
    if text is not None:
        return text, None, None
    if by_name and tokens[0].kind is _Kind.STAR:  # in a path the star would have to stop at a slash
        text = _text(tokens[1:])
        if text:
            return None, text, None
    return None, None, _regex(tokens)


def _text(tokens: list[_Token]) -> str | None:
    if any(token.kind not in (_Kind.CHAR, _Kind.SLASH) for token in tokens):
        return None
    return "".join(token.text or "/" for token in tokens)


def _regex(tokens: list[_Token]) -> str:
    """Each run of components but the last is committed to its leftmost place, hence the atomic groups."""
    parts: list[str] = []
    opening = ""
    run: list[_Token] = []
    for token in tokens:
        if token.kind in _DIRECTORIES:
            parts.append(_atomic(opening + _components(run)))
            opening, run = _DIRECTORIES[token.kind], []
        elif token.kind is _Kind.REST:
            parts.append(_atomic(opening + _components(run)))
            return "".join(parts) + "(?s:.*)\\Z"
        else:
            run.append(token)
    return "".join(parts) + opening + _components(run) + "\\Z"


def _components(tokens: list[_Token]) -> str:
    """A run of components without `**`: fixed pieces with stars between them, none of which crosses a slash."""
    parts: list[str] = []
    piece: list[str] = []
    starred = False
    for token in tokens:
        if token.kind is _Kind.STAR:
            text = "".join(piece)
            parts.append(_atomic("[^/]*?" + text) if starred else text)
            piece, starred = [], True
        elif token.kind is _Kind.SLASH:
            parts.append(_atomic("[^/]*" + "".join(piece) + "/") if starred else "".join(piece) + "/")
            piece, starred = [], False
        else:
            piece.append(re.escape(token.text) if token.kind is _Kind.CHAR else token.text)
    parts.append("[^/]*" + "".join(piece) if starred else "".join(piece))
    return "".join(parts)


def _atomic(regex: str) -> str:
    return f"(?>{regex})" if regex else ""
