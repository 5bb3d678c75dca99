"""The pattern language, one rule of gitignore(5) after the other; the oracle itself is asked in tests/campaign."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.workspace.gitpattern import Pattern, from_bytetext, parse, parse_line, to_bytetext


def pattern(line: str) -> Pattern:
    found = parse_line(to_bytetext(line))
    assert found is not None
    return found


def hits(line: str, *subjects: str) -> list[str]:
    """Those of `subjects` that the pattern matches, by its own idea of name or path."""
    one = pattern(line)
    return [s for s in subjects if one.matches(to_bytetext(s.rpartition("/")[2] if one.by_name else s))]


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["", " ", "   ", "#", "# a comment", "#a", "!", "/", "!/", "//", "\0", "\0a", " \0"])
def test_a_line_that_holds_no_pattern(line: str) -> None:
    assert parse_line(line) is None


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a ", "a"),
        ("a   ", "a"),
        ("a\\ ", "a\\ "),
        ("a\\  ", "a\\ "),
        ("a \\ ", "a \\ "),
        ("a\\\\ ", "a\\\\"),  # the backslash is quoted, not the blank
        (" a", " a"),
        ("a\t", "a\t"),
        ("a\t ", "a\t"),
        ("a b ", "a b"),
        ("a \0b", "a"),
    ],
)
def test_trailing_blanks_go_unless_quoted(line: str, shown: str) -> None:
    assert pattern(line).shown == shown


def test_a_backslash_quotes_a_hash_and_an_exclamation_mark() -> None:
    assert hits("\\#a", "#a", "a") == ["#a"]
    assert hits("\\!a", "!a", "a") == ["!a"]
    assert not pattern("\\!a").negated


def test_an_exclamation_mark_negates_once() -> None:
    assert pattern("!a").negated
    assert hits("!a", "a", "!a") == ["a"]
    assert hits("!!a", "a", "!a") == ["!a"]
    assert hits("!#a", "#a") == ["#a"]


def test_a_slash_at_the_end_asks_for_directories_and_does_not_anchor() -> None:
    assert pattern("frotz/").only_directories
    assert hits("frotz/", "frotz", "a/frotz") == ["frotz", "a/frotz"]
    assert hits("doc/frotz/", "doc/frotz", "a/doc/frotz") == ["doc/frotz"]


def test_a_slash_at_the_beginning_or_in_the_middle_anchors() -> None:
    assert hits("frotz", "frotz", "a/frotz") == ["frotz", "a/frotz"]
    assert hits("/frotz", "frotz", "a/frotz") == ["frotz"]
    assert hits("doc/frotz", "doc/frotz", "a/doc/frotz") == ["doc/frotz"]
    assert hits("/doc/frotz", "doc/frotz", "a/doc/frotz") == ["doc/frotz"]


@pytest.mark.parametrize("line", ["//a", "a//", "a//b", "./a", "a/.", "../a", "\\/a"])
def test_slashes_that_no_path_has_match_nothing(line: str) -> None:
    assert hits(line, "a", "a/b", "x/a", "b") == []


def test_files_are_split_at_line_feeds_and_one_carriage_return_belongs_to_the_end() -> None:
    data = b"a\r\n\n# no\nb \r\nc\r\r\n\\ \r\nlast\r"
    assert [(number, one.shown) for number, one in parse(data)] == [
        (1, "a"),
        (4, "b"),
        (5, "c\r"),
        (6, "\\ "),
        (7, "last"),
    ]


def test_a_byte_order_mark_is_skipped_at_the_start_only() -> None:
    assert [one.shown for _, one in parse(b"\xef\xbb\xbfa\n\xef\xbb\xbfb")] == ["a", "\xef\xbb\xbfb"]
    assert [one.shown for _, one in parse(b"\xef\xbb\xbf\xef\xbb\xbfa")] == ["\xef\xbb\xbfa"]
    assert list(parse(b"\xef\xbb\xbf# comment")) == []


def test_an_empty_file_has_no_patterns() -> None:
    assert list(parse(b"")) == []


# --- * and ? ---------------------------------------------------------------------------------------------------------


def test_a_star_matches_anything_but_a_slash() -> None:
    assert hits("hello.*", "hello.", "hello.c", "a/hello.java", "hello") == ["hello.", "hello.c", "a/hello.java"]
    assert hits("/hello.*", "hello.c", "a/hello.java") == ["hello.c"]
    assert hits("foo/*", "foo/test.json", "foo/bar", "foo/bar/hello.c") == ["foo/test.json", "foo/bar"]
    assert hits("*.py", ".py", "a.py", "a.pyc", "a\n.py") == [".py", "a.py", "a\n.py"]
    assert hits("*", "a", ".a") == ["a", ".a"]


def test_stars_find_every_way_to_match() -> None:
    assert hits("*a*b", "aab", "ab", "abab", "ba", "axbx") == ["aab", "ab", "abab"]
    assert hits("*aba*aba", "ababa", "abaaba", "abababa") == ["abaaba", "abababa"]
    assert hits("x/*a/b", "x/aa/b", "x/ab/b") == ["x/aa/b"]
    assert hits("*[ab]?[bc]*c", "aabcc", "xbc", "abc") == ["aabcc"]


def test_a_question_mark_matches_one_byte_but_a_slash() -> None:
    assert hits("?", "a", "ab", "é", "\udcff") == ["a", "\udcff"]
    assert hits("??", "ab", "é") == ["ab", "é"]
    assert hits("???", "日") == ["日"]
    assert hits("a/?b", "a/xb", "a//b") == ["a/xb"]


def test_a_backslash_quotes() -> None:
    assert hits("\\*", "*", "a") == ["*"]
    assert hits("\\a\\b", "ab") == ["ab"]
    assert hits("a\\\\", "a\\") == ["a\\"]
    assert hits("a\\/b", "a/b") == ["a/b"]


@pytest.mark.parametrize("line", ["a\\", "\\", "*\\", "a\\/", "[\\", "[a\\"])
def test_a_dangling_backslash_matches_nothing(line: str) -> None:
    assert hits(line, "a", "\\", "a\\", "a/", "") == []


# --- brackets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[abc]", "abc"),
        ("[a-c]", "abc"),
        ("[!a-c]", "]-[^!\\z1A:"),
        ("[^a-c]", "]-[^!\\z1A:"),
        ("[]a]", "a]"),
        ("[!]a]", "bc-[^!\\z1A:"),
        ("[a-]", "a-"),
        ("[-a]", "a-"),
        ("[c-a]", "c"),  # the low end counts by itself
        ("[^c-a]", "ab]-[^!\\z1A:"),
        ("[a-c-z]", "abc-z"),
        ("[a--z]", "az"),  # a range from a to -, then z
        ("[\\]]", "]"),
        ("[\\a]", "a"),
        ("[a\\-c]", "ac-"),
        ("[a-\\c]", "abc"),
        ("[]-a]", "a]^"),
        ("[a!]", "a!"),
        ("[a^]", "a^"),
        ("[[]", "["),
        ("[[:digit:]]", "1"),
        ("[[:digit:]-z]", "-z1"),
        ("[[:upper:][:digit:]]", "1A"),
        ("[![:alpha:]]", "]-[^!\\1:"),
        ("[[:alpha]", "a[:"),  # no ":]", so "[" is one of the set
        ("[[:]", "[:"),
        ("[:alpha:]", "a:"),
        ("[[=a=]", "a["),
        ("[\\[:a]", "a[:"),
    ],
)
def test_brackets(line: str, expected: str) -> None:
    assert sorted(hits(line, *"abc]-[^!\\z1A:")) == sorted(expected)


@pytest.mark.parametrize("line", ["[a-]]", "[[a]]", "[a[.a.]]"])
def test_a_bracket_ends_at_the_first_place_it_can(line: str) -> None:
    assert hits(line, "a", "a]") == ["a]"]


@pytest.mark.parametrize(
    "line", ["[", "[]", "[!]", "[a", "[a-", "[[:alpha:]", "[[:nope:]]", "[^[:nope:]]", "[a[:nope:]]", "[[::]]", "[/]"]
)
def test_a_bracket_that_is_none_matches_nothing(line: str) -> None:
    assert hits(line, "a", "[", "[]", "[a", "]", ":", "") == []


def test_a_bracket_matches_one_byte() -> None:
    assert hits("[é]", "é", "\udcc3", "\udca9") == ["\udcc3", "\udca9"]
    assert hits("[é][é]", "é") == ["é"]
    assert hits("[!a][!a]", "é", "aé") == ["é"]


def test_a_bracket_never_matches_a_slash() -> None:
    assert hits("a[/]b", "a/b") == []
    assert hits("/a[!x]b", "a/b", "ayb") == ["ayb"]
    assert hits("/a[.-0]b", "a/b", "a.b", "a0b") == ["a.b", "a0b"]
    assert hits("[a/]", "a") == ["a"]


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("alnum", re.compile(r"[0-9A-Za-z]")),
        ("alpha", re.compile(r"[A-Za-z]")),
        ("blank", re.compile(r"[ \t]")),
        ("cntrl", re.compile(r"[\x01-\x1f\x7f]")),
        ("digit", re.compile(r"[0-9]")),
        ("graph", re.compile(r"[!-~]")),
        ("lower", re.compile(r"[a-z]")),
        ("print", re.compile(r"[ -~]")),
        ("punct", re.compile(r"[!-\-.:-@\[-`{-~]")),
        ("space", re.compile(r"[ \t\n\r]")),  # without \v and \f, unlike isspace(3)
        ("upper", re.compile(r"[A-Z]")),
        ("xdigit", re.compile(r"[0-9A-Fa-f]")),
    ],
)
def test_posix_classes(name: str, members: re.Pattern[str]) -> None:
    one = pattern(f"[[:{name}:]]")
    for byte in range(1, 256):
        if chr(byte) != "/":
            assert one.matches(chr(byte)) == bool(members.match(chr(byte))), byte


# --- ** --------------------------------------------------------------------------------------------------------------

PATHS = ("foo", "a/foo", "a/b/foo", "foo/bar", "a/foo/bar", "foo/x/bar", "foo/x/y/bar")


def test_leading_stars_and_a_slash_match_in_all_directories() -> None:
    assert hits("**/foo", *PATHS) == hits("foo", *PATHS) == ["foo", "a/foo", "a/b/foo"]
    assert hits("**/foo/bar", *PATHS) == ["foo/bar", "a/foo/bar"]
    assert pattern("**/foo").by_name


def test_a_trailing_slash_and_stars_match_everything_inside() -> None:
    assert hits("foo/**", *PATHS) == ["foo/bar", "foo/x/bar", "foo/x/y/bar"]


def test_stars_between_slashes_match_zero_or_more_directories() -> None:
    assert hits("foo/**/bar", *PATHS) == ["foo/bar", "foo/x/bar", "foo/x/y/bar"]
    assert hits("foo/**/**/bar", *PATHS) == ["foo/bar", "foo/x/bar", "foo/x/y/bar"]
    assert hits("**/x/**/bar", *PATHS) == ["foo/x/bar", "foo/x/y/bar"]
    assert hits("foo/***/bar", *PATHS) == ["foo/bar", "foo/x/bar", "foo/x/y/bar"]


def test_other_consecutive_stars_are_regular_ones() -> None:
    assert hits("/f**o", "foo", "f/o", "fo") == ["foo", "fo"]
    assert hits("foo/**r", *PATHS) == ["foo/bar"]
    assert hits("foo/x**/bar", "foo/x/bar", "foo/xy/bar") == ["foo/x/bar", "foo/xy/bar"]
    assert hits("[f]oo**/bar", *PATHS) == ["foo/bar"]
    assert hits("**o", "foo", "a/foo") == ["foo", "a/foo"]


def test_stars_right_after_the_literal_start_of_a_path_count_as_leading_stars() -> None:
    # Not in the manual page: git compares the text before the first special character by itself.
    assert hits("foo**/bar", "foo/bar", "foobar", "foo/x/y/bar", "foox/y/bar", "a/foo/bar") == [
        "foo/bar",
        "foobar",
        "foo/x/y/bar",
        "foox/y/bar",
    ]
    assert hits("\\foo**/bar", "foo/bar", "foobar", "foo/x/y/bar") == ["foo/bar"]


def test_stars_before_a_quoted_slash_need_a_directory() -> None:
    assert hits("**\\/foo", *PATHS) == ["a/foo", "a/b/foo"]
    assert hits("**\\/**/foo", *PATHS) == ["a/foo", "a/b/foo"]
    assert hits("**\\/**\\/foo", *PATHS) == ["a/b/foo"]


# --- form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "literal", "suffix"),
    [("a", "a", None), ("a\\*", "a*", None), ("a/b", "a/b", None), ("*.py", None, ".py"), ("**/*.py", None, ".py")],
)
def test_literals_and_suffixes_need_no_regular_expression(line: str, literal: str | None, suffix: str | None) -> None:
    one = pattern(line)
    assert (one.literal, one.suffix, one.regex) == (literal, suffix, None)


@pytest.mark.parametrize("line", ["*", "a*", "/*.py", "*[a]", "a?", "[", "a/**"])
def test_the_rest_is_a_regular_expression(line: str) -> None:
    one = pattern(line)
    assert (one.literal, one.suffix) == (None, None)
    assert one.regex is not None


@given(st.binary(max_size=40))
def test_byte_text_is_reversible(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert to_bytetext(text) == data.decode("latin-1")
    assert from_bytetext(to_bytetext(text)) == text


def test_byte_text_takes_a_surrogate_that_stands_for_no_byte() -> None:
    assert to_bytetext("\ud800") == "\xed\xa0\x80"


@given(st.binary(max_size=60), st.text(max_size=20))
def test_any_bytes_parse_and_match_without_an_error(data: bytes, subject: str) -> None:
    for number, one in parse(data):
        assert number >= 1
        one.matches(to_bytetext(subject))


@given(st.text(st.characters(codec="ascii", exclude_characters="*?[\\/!# \r\n\0"), min_size=1, max_size=12))
def test_text_without_special_characters_matches_itself_only(text: str) -> None:
    assert hits(text, text, text + "x", "x" + text) == [text]


@given(st.text("ab", max_size=8), st.lists(st.text("ab", max_size=3), min_size=1, max_size=5))
def test_stars_agree_with_a_backtracking_regular_expression(name: str, pieces: list[str]) -> None:
    line = "/*" + "*".join(pieces)
    assert pattern(line).matches(name) == (re.fullmatch("[^/]*" + "[^/]*".join(pieces), name) is not None)
