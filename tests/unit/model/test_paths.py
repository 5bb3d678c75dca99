"""The one validator of paths from outside (facts: reliability §3.1; DESIGN §5)."""

from __future__ import annotations

import pytest

from modelops_bundle.errors import UnsafePath
from modelops_bundle.model.paths import (
    MAX_COMPONENT,
    MAX_PATH,
    display,
    fold,
    link_problem,
    parents,
    problem,
    validate,
    validate_tree,
)

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b/c.txt",
        ".hidden",
        "..a",
        "a..b",
        "...x",
        "a b",
        " a",
        "-rf",
        "~",
        NFC,
        "日本語/モデル.bin",
        "com",
        "com10",
        "console",
        "nullx",
        "auxiliary.py",
        ".github/workflows/x.yml",
        ".gitignore",
        "git",
        "git~",
        "git~x",
        "a~1",
        ".bundled",
        "bundle",
        ".modelopsignore",
        "x" * MAX_COMPONENT,
        "فارسی\u200cها",
        "👩\u200d🔬",
    ],
)
def test_ordinary_paths_are_fine(path: str) -> None:
    assert validate(path) == path


BAD = [
    "",
    "/",
    "/etc/passwd",
    "//a",
    "..",
    ".",
    "../x",
    "a/../../x",
    "a/..",
    "a/./b",
    "a//b",
    "a/",
    "..\\x",
    "a\\b",
    "C:",
    "C:/x",
    "C:\\x",
    "a:b",
    "a:$DATA",
    "a\0b",
    "a\nb",
    "a\rb",
    "a\tb",
    "\x1b[31mred",
    "a\x7f",
    "a\x9bb",
    "a\u202eb",
    "a\u2066b",
    "a\u200eb",
    "a\u061cb",
    "\ufeffa",
    "a\u2028b",
    "a\u2029b",
    "\ud800",
    "\udcff",
    NFD,
    f"{NFD}/x",
    "\u212b",
    "a<b",
    "a>b",
    'a"b',
    "a|b",
    "a?b",
    "a*b",
    "name.",
    "name ",
    "name. ",
    "dir./x",
    "dir /x",
    "...",
    ".~bundle-0123456789abcdef",
    "a/.~bundle-x",
    "x" * (MAX_COMPONENT + 1),
    "é" * 128,
    "/".join(["x" * 250] * 17),
]


@pytest.mark.parametrize("path", BAD)
def test_hostile_paths_are_refused(path: str) -> None:
    with pytest.raises(UnsafePath):
        validate(path)


DEVICES = ["con", "prn", "aux", "nul", "conin$", "conout$", "com0", "com1", "com9", "com¹", "lpt0", "lpt9", "lpt³"]


@pytest.mark.parametrize("device", DEVICES)
def test_windows_devices_are_refused_in_any_spelling(device: str) -> None:
    for name in (device, device.upper(), device.title(), f"{device}.txt", f"{device}.tar.gz", f"{device} .txt"):
        assert problem(name) is not None, name
        assert problem(f"dir/{name}") is not None, name
        assert problem(f"{name}/file") is not None, name
    assert problem(f"x{device}") is None
    assert problem(f"x.{device}") is None


@pytest.mark.parametrize("reserved", [".git", ".modelops-bundle", ".bundle"])
def test_reserved_directories_are_refused_in_any_spelling(reserved: str) -> None:
    spellings = [
        reserved,
        reserved.upper(),
        reserved.title(),
        f"{reserved}.",
        f"{reserved} ",
        f"{reserved}. . ",
        f"{reserved[:2]}\u200c{reserved[2:]}",
        f"\u200d{reserved}",
        f"{reserved}\ufeff",
        f"{reserved}\u206a",
        f"{reserved[1:7]}~1",
        f"{reserved[1:7].upper()}~1",
        f"{reserved[1:7]}~42",
        reserved.replace("g", "\uff47"),
    ]
    for name in spellings:
        assert problem(name) is not None, ascii(name)
        assert problem(f"{name}/hooks/post-checkout") is not None, ascii(name)
        assert problem(f"sub/{name}/x") is not None, ascii(name)


def test_a_name_that_folds_into_a_reserved_one_is_refused() -> None:
    assert problem(".BUNDL\u0395") is None  # Greek, looks the same, is another name everywhere
    assert problem(".bund\u017fe") is None
    assert problem(".g\u0131t") is None
    assert problem(".\uff27\uff29\uff34") is not None


def test_lengths_count_bytes_not_characters() -> None:
    assert problem("é" * 127) is None
    assert problem("é" * 128) is not None
    longest = "/".join(["x" * 240] * 17)
    assert problem(longest[:MAX_PATH].rstrip("/")) is None
    assert problem(longest + "/" + "x" * 240) is not None


def test_the_message_is_safe_to_print() -> None:
    with pytest.raises(UnsafePath) as caught:
        validate("a\x1b[2J\u202e\ud800")
    assert caught.value.message.isprintable()
    assert str(caught.value.facts["path"]).isprintable()


# --- trees -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        ["README", "readme"],
        ["a", "a"],
        ["a", "a/b"],
        ["a/b", "a"],
        ["a/b/c", "a/b"],
        ["A/x", "a/y"],
        ["x/A/1", "x/a/2"],
        ["A", "a/b"],
        ["straße", "STRASSE"],
        ["ﬁle", "file"],
        ["K", "\u212a".lower()],
        ["Å/x", "å/y"],
        ["ok", "../x"],
        ["ok", "sub/.git/config"],
        ["a.txt", "A.TXT"],
        ["\u03c3", "\u03c2"],
    ],
)
def test_trees_that_cannot_exist_everywhere_are_refused(tree: list[str]) -> None:
    with pytest.raises(UnsafePath):
        validate_tree(tree)
    with pytest.raises(UnsafePath):
        validate_tree(reversed(tree))


@pytest.mark.parametrize(
    "tree",
    [[], ["a"], ["a/b", "a/c", "ab"], ["a.b", "a/b"], ["x/README", "y/readme"], ["é", "e"], ["a/a/a", "a/b/a"]],
)
def test_trees_that_can_are_fine(tree: list[str]) -> None:
    validate_tree(tree)


def test_a_tree_of_many_deep_paths_is_checked_in_linear_time() -> None:
    validate_tree(f"{'d/' * 40}{n}" for n in range(20_000))


def test_fold_is_idempotent_where_it_matters() -> None:
    for text in ("README", "Straße", "ﬁ", NFC.upper(), "İ", "\u1fb4"):
        assert fold(fold(text)) == fold(text)


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", "b"),
        ("a", "./b"),
        ("d/a", "../b"),
        ("d/e/a", "../../b"),
        ("d/a", ".."),
        ("a", "."),
        ("a", "x/../y"),
        ("a", "missing/dir//f"),
        ("a", "b/"),
        ("d/a", "../d/../b"),
    ],
)
def test_links_that_stay_inside_are_fine(path: str, target: str) -> None:
    assert link_problem(path, target) is None


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", ""),
        ("a", ".."),
        ("a", "../b"),
        ("d/a", "../../b"),
        ("d/a", "../../d/b"),
        ("a", "x/../../y"),
        ("a", "/etc/passwd"),
        ("a", "//x"),
        ("a", "C:/x"),
        ("a", "c:x"),
        ("a", "..\\x"),
        ("a", "\\\\host\\share"),
        ("a", "b\0c"),
        ("a", "b\nc"),
        ("a", "\x1b]0;x"),
        ("a", "\udcff"),
        ("a", ".git/config"),
        ("a", "x/.GIT/hooks"),
        ("d/a", "../.modelops-bundle/config.toml"),
        ("a", "git~1/config"),
        ("a", ".git./config"),
        ("a", ".git /config"),
        ("a", "x/.GIT. ./config"),
    ],
)
def test_links_that_leave_or_reach_reserved_places_are_not(path: str, target: str) -> None:
    assert link_problem(path, target) is not None


# --- the rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a/b é", "a/b é"),
        ("a\x1b[0m", "a\\x1b[0m"),
        ("a\nb", "a\\nb"),
        ("a\u202eb", "a\\u202eb"),
        ("\udcff", "\\udcff"),
    ],
)
def test_display_escapes_what_a_terminal_would_obey(path: str, shown: str) -> None:
    assert display(path) == shown


def test_display_is_bounded() -> None:
    assert len(display("x" * 10_000)) == 500


def test_parents_are_outermost_first() -> None:
    assert parents("a/b/c") == ["a", "a/b"]
    assert parents("a") == []
