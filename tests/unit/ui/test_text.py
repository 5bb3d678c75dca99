from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.ui import text
from modelops_bundle.ui.text import Paint, Style

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


# any character, lone surrogates (bytes that are not UTF-8) included
ANY_TEXT = st.text(st.characters())


@given(ANY_TEXT)
def test_nothing_safe_can_move_a_cursor_or_begin_a_line(foreign: str) -> None:
    shown = text.safe(foreign)
    assert all(ord(c) >= 0x20 and not 0x7F <= ord(c) <= 0x9F for c in shown)
    assert not any(c in BIDI or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()  # printable whatever came in


@given(ANY_TEXT)
def test_safe_is_idempotent_and_leaves_ordinary_text(foreign: str) -> None:
    assert text.safe(text.safe(foreign)) == text.safe(foreign)
    if foreign.isprintable():
        assert text.safe(foreign) == foreign


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("\udcff", "\\udcff"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("Grüße 模型", "Grüße 模型"),
    ],
)
def test_safe_examples(foreign: str, shown: str) -> None:
    assert text.safe(foreign) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (99.94 * 1024, "99.9 KiB"),
        (123 * 1024, "123 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (int(12.3 * 1024**2), "12.3 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
        (2048 * 1024**6, "2048 EiB"),
    ],
)
def test_sizes(count: float, shown: str) -> None:
    assert text.size(count) == shown


@given(st.integers(0, 2**63))
def test_a_size_is_at_most_eight_columns_and_within_a_twentieth(count: int) -> None:
    shown = text.size(count)
    assert len(shown) <= 8
    number, unit = shown.split()
    meant = float(number) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].index(unit)
    assert abs(meant - count) <= 0.05 * max(count, 1)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0 ms"),
        (0.04, "40 ms"),
        (0.9999, "1.0 s"),
        (1.25, "1.2 s"),
        (9.97, "10 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (3599.7, "1 h 00 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_counts_rates_and_percentages() -> None:
    assert text.count(1, "file") == "1 file"
    assert text.count(2, "file") == "2 files"
    assert text.count(10_000, "entry", "entries") == "10,000 entries"
    assert text.rate(1.5 * 1024**2) == "1.5 MiB/s"
    assert text.percent(999_999, 1_000_000) == "99 %"
    assert text.percent(1, 1) == text.percent(0, 0) == "100 %"


def test_a_table_aligns_by_columns_of_the_terminal_and_leaves_no_trailing_blanks() -> None:
    rows = [("模型.bin", "5 B"), (Paint("a", "green"), "1.5 KiB"), ("readme\n.md", "0 B")]
    plain = [Style().line(line) for line in text.table(rows, head=("path", "size"), right=[1])]
    assert plain == [
        "path            size",
        "模型.bin         5 B",
        "a            1.5 KiB",
        "readme\\n.md      0 B",
    ]
    assert [Style().line(line) for line in text.table([("long one", "x"), ("b", "y")])] == [
        "long one  x",
        "b         y",
    ]
    assert text.table([]) == []


@given(st.lists(st.lists(ANY_TEXT, min_size=2, max_size=2), max_size=6))
def test_columns_line_up_whatever_is_in_them(rows: list[list[str]]) -> None:
    lines = [Style().line(line) for line in text.table(rows)]
    widest = max((text.width(row[0]) for row in rows), default=0)
    for row, line in zip(rows, lines, strict=True):
        assert line.endswith(text.safe(row[1]))
        assert text.width(line) == widest + 2 + text.width(row[1])


def test_style_colours_only_when_asked_and_escapes_always() -> None:
    line = (Paint("modified\x1b", "yellow"), "  ", "name\x1b[0m")
    assert Style(False).line(line) == "modified\\x1b  name\\x1b[0m"
    assert Style(True).line(line) == "\x1b[33mmodified\\x1b\x1b[0m  name\\x1b[0m"
    assert Style(True).line(Paint("x", "bold")) == "\x1b[1mx\x1b[0m"


@pytest.mark.parametrize(
    ("terminal", "environment", "wanted"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_when_to_colour(terminal: bool, environment: dict[str, str], wanted: bool) -> None:
    assert text.wants_colour(terminal, environment) is wanted


@given(ANY_TEXT, st.integers(0, 30))
def test_shortened_text_fits_and_keeps_the_end(name: str, columns: int) -> None:
    shown = text.shorten(name, columns)
    assert text.width(shown) <= columns
    if shown.startswith("…") and not name.startswith("…"):
        assert text.safe(name).endswith(shown[1:])
