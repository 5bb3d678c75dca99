"""What property tests draw from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from modelops_bundle.errors import UnsafePath
from modelops_bundle.model import paths
from modelops_bundle.model.roles import ROLES
from modelops_bundle.model.snapshot import Entry, Snapshot
from tests.support.things import file

# JSON as canonical writes it: text that has a UTF-8 form, no floats.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
json_objects = st.dictionaries(texts, json_values, max_size=5)

_SPICE = [
    *(
        "..",
        ".",
        "",
        "/",
        "\\",
        "C:",
        ":",
        "\0",
        "\n",
        "\x1b",
        "\u202e",
        "\u200c",
        "\u200d",
        "\ufeff",
        "\ud800",
        "\udcff",
    ),
    *(".git", ".GIT", "git~1", ".modelops-bundle", ".bundle", "CON", "nul.txt", "com1", "LPT\u00b9", "~1", ".~bundle-"),
    *(
        "\u00e9",
        "e\u0301",
        "\u00df",
        "\u1e9e",
        "SS",
        "\ufb01",
        "\u0130",
        "\u0131",
        "\u017f",
        "\u212a",
        "\u03c2",
        "\u0345",
    ),
    *(
        "a",
        "A",
        "b",
        ".",
        " ",
        "x" * 100,
        "\uac00",
        "\u1100\u1161",
        "\U0001f469\u200d\U0001f4bb",
        "<",
        "*",
        "?",
        "|",
        '"',
    ),
]
hostile_names = st.lists(st.sampled_from(_SPICE) | st.characters(), max_size=5).map("".join)
hostile_paths = st.lists(hostile_names, min_size=1, max_size=4).map("/".join)

names = st.text(st.sampled_from("abcxyzABC019._- é日\u200c"), min_size=1, max_size=8).filter(
    lambda name: paths.problem(name) is None
)
safe_paths = st.lists(names, min_size=1, max_size=4).map("/".join)

contents = st.binary(max_size=20)
roles = st.sampled_from([*ROLES, "custom-role"])


@st.composite
def entries(draw: st.DrawFn, path: str = "a") -> Entry:
    """An entry that may stand at `path`."""
    kind = draw(st.sampled_from(["file", "file", "file", "link", "dir"]))
    if kind == "dir":
        return Entry.directory()
    if kind == "link":
        target = draw(safe_paths.filter(lambda t: paths.link_problem(path, t) is None))
        return Entry.link(target)
    return file(draw(contents), executable=draw(st.booleans()), role=draw(roles))


@st.composite
def snapshots(draw: st.DrawFn, max_size: int = 12) -> Snapshot:
    """A tree that anybody may have."""
    found: dict[str, Entry] = {}
    for path in draw(st.lists(safe_paths, unique=True, max_size=max_size)):
        entry = draw(entries(path))
        try:
            paths.validate_tree([*found, path])
        except UnsafePath:
            continue
        if entry.kind == "link" and paths.links_problem({**Snapshot(found).links(), path: entry.target or ""}):
            continue
        found[path] = entry
    return Snapshot(found)


# --- small worlds, in which everything meets everything --------------------------------------------------------------

UNIVERSE = ("a", "a/b", "a/c", "d", "d/e", "d/e/f", "x", "y")
FEW = (
    file("A"),
    file("B"),
    file("C"),
    file("A", executable=True),
    Entry.link("t"),
    Entry.directory(),
)


def without_clashes(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Leave out what stands below another entry."""
    return {
        path: entry for path, entry in entries.items() if not any(parent in entries for parent in paths.parents(path))
    }


def worlds(universe: Sequence[str] = UNIVERSE) -> st.SearchStrategy[dict[str, Entry]]:
    """A small tree: few paths, few contents."""
    return st.dictionaries(st.sampled_from(universe), st.sampled_from(FEW), max_size=len(universe)).map(without_clashes)
