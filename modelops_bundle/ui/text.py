"""Plain text for people: sizes, durations, tables, colours, and the boundary where foreign text becomes printable.

Pure: nothing here reads the environment or knows a terminal. Colour repeats what the words say, never more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

KIB = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

# --------------------------------------------------------------------------------------------------- foreign text

# C0, C1 (an 8-bit CSI starts a terminal sequence as well as ESC does), soft hyphen and other invisible characters,
# bidirectional controls (CVE-2021-42574), line separators, interlinear marks, tag characters, lone surrogates (bytes
# that are not UTF-8). The joiners U+200C and U+200D stay: Persian and Indic names and many emoji need them.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)


def safe(text: str) -> str:
    """`text` with everything escaped that could move a cursor, reorder a line, or begin another one."""
    return _UNSAFE.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


# -------------------------------------------------------------------------------------------------------- numbers


def size(count: float) -> str:
    """Bytes for people: `0 B`, `512 B`, `1.5 KiB`, `12.3 MiB`, `123 GiB`."""
    number = float(count)
    for unit in _UNITS:
        # 1023.96 would print as "1024" of this unit: the next one takes over where rounding reaches it.
        if number < KIB - 0.5 or unit == _UNITS[-1]:
            break
        number /= KIB
    if unit == "B" or number >= 99.95:
        return f"{number:.0f} {unit}"
    return f"{number:.1f} {unit}"


def rate(per_second: float) -> str:
    """Bytes per second: `12.3 MiB/s`."""
    return f"{size(per_second)}/s"


def duration(seconds: float) -> str:
    """Time for people: `40 ms`, `1.2 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """`1 file`, `2 files`, `10,000 entries`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def percent(done: float, total: float) -> str:
    """`31 %`; never `100 %` before the end."""
    if total <= 0 or done >= total:
        return "100 %"
    return f"{min(99, int(100 * done / total))} %"


# --------------------------------------------------------------------------------------------------------- colour

Colour = Literal["bold", "dim", "red", "green", "yellow", "blue", "magenta", "cyan"]
_SGR: Mapping[Colour, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


class Paint(NamedTuple):
    """Text that is to be coloured where colour is wanted."""

    text: str
    colour: Colour


Cell = str | Paint
Line = str | Paint | Sequence[Cell]
"""What commands hand to the output: never escape sequences, which only `Style.line` makes."""


def wants_colour(is_terminal: bool, environment: Mapping[str, str]) -> bool:
    """Whether to colour: on terminals, unless NO_COLOR (no-color.org) or TERM=dumb; FORCE_COLOR elsewhere too."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return is_terminal and environment.get("TERM") != "dumb"


@dataclass(frozen=True, slots=True)
class Style:
    """Turns lines into what a terminal or a pipe gets: foreign text escaped, colour only when `enabled`."""

    enabled: bool = False

    def paint(self, text: str, colour: Colour) -> str:
        """`text`, escaped and coloured."""
        if not self.enabled or not text:
            return safe(text)
        return f"\x1b[{_SGR[colour]}m{safe(text)}\x1b[0m"

    def line(self, line: Line) -> str:
        """One printable line, without its end."""
        if isinstance(line, str):
            return safe(line)
        if isinstance(line, Paint):
            return self.paint(*line)
        return "".join(self.line(cell) for cell in line)


# --------------------------------------------------------------------------------------------------------- tables


def width(text: str) -> int:
    """Terminal columns of `text` once it is safe: two for wide East Asian characters, none for combining ones."""
    text = safe(text)
    if text.isascii():
        return len(text)
    columns = 0
    for character in text:
        if unicodedata.category(character) in ("Mn", "Me", "Cf"):
            continue
        columns += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return columns


def table(
    rows: Iterable[Sequence[Cell]], *, head: Sequence[str] | None = None, right: Iterable[int] = ()
) -> list[Line]:
    """Aligned columns, two blanks apart, nothing after the last one.

    :param head: column titles, printed in bold.
    :param right: numbers of the columns that are aligned to the right (sizes, counts).
    """
    body: list[Sequence[Cell]] = [tuple(row) for row in rows]
    if head is not None:
        body.insert(0, tuple(Paint(title, "bold") for title in head))
    widths: list[int] = []
    for row in body:
        widths.extend([0] * (len(row) - len(widths)))
        for column, cell in enumerate(row):
            widths[column] = max(widths[column], width(_plain(cell)))
    to_right = frozenset(right)
    return [_aligned(row, widths, to_right) for row in body]


def _plain(cell: Cell) -> str:
    return cell.text if isinstance(cell, Paint) else cell


def _aligned(row: Sequence[Cell], widths: Sequence[int], right: frozenset[int]) -> Line:
    line: list[Cell] = []
    for column, cell in enumerate(row):
        gap = " " * (widths[column] - width(_plain(cell)))
        last = column == len(row) - 1
        if column:
            line.append("  ")
        if gap and column in right:
            line.append(gap)
        line.append(cell)
        if gap and column not in right and not last:
            line.append(gap)
    return tuple(line)


def shorten(text: str, columns: int) -> str:
    """`text` in at most `columns`, its beginning left out: the end of a path says most."""
    text = safe(text)
    if width(text) <= columns:
        return text
    kept = text[-max(columns - 1, 0) :] if columns > 1 else ""
    while kept and width(kept) > columns - 1:
        kept = kept[1:]
    return "…" + kept if columns > 0 else ""
