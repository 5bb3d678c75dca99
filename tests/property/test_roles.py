"""Globs: whatever a person writes is a pattern, and the plain ones mean what the shell means."""

from __future__ import annotations

import re
import warnings
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.model.roles import ROLES, glob_pattern, role_of
from tests.support.strategies import safe_paths

globs = st.text(alphabet="ab.-!^*?[]/\\&|~{}()+ é", max_size=12)


@given(globs, st.text(alphabet="ab.-/]^é", max_size=8))
def test_every_glob_compiles_without_a_warning_and_answers(glob: str, path: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        glob_pattern(glob).fullmatch(path)


# Inside one component and without `**` the rules are fnmatch's, but for sets that reach a slash.
simple = (
    st.lists(
        st.sampled_from(
            ["a", "b", "é", ".", "?", "*", "[ab]", "[!a]", "[a-c]", "[]a]", "[!]a]", "[a-]", "[c-a]", "[!c-a]"]
        ),
        max_size=5,
    )
    .map("".join)
    .filter(lambda glob: "**" not in glob)
)


@given(simple, st.text(alphabet="abcé.-]", max_size=6))
def test_inside_one_component_globs_are_those_of_the_shell(glob: str, name: str) -> None:
    assert bool(glob_pattern(f"/{glob}").fullmatch(name)) == fnmatchcase(name, glob)


@given(safe_paths)
def test_every_path_matches_itself_and_everything(path: str) -> None:
    literal = re.sub(r"([*?\[])", r"[\1]", path)
    assert glob_pattern(f"/{literal}").fullmatch(path)
    assert glob_pattern("**").fullmatch(path)
    assert glob_pattern(literal.rpartition("/")[2]).fullmatch(path)


@given(safe_paths)
def test_every_path_has_one_of_the_roles(path: str) -> None:
    assert role_of(path) in ROLES
