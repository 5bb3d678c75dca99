"""What a token says it allows."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.net.rights import granted


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"Bearer e30.{body}.c2ln"


def test_actions_by_repository() -> None:
    access = [
        {"type": "repository", "name": "team/model", "actions": ["pull", "push"]},
        {"type": "repository", "name": "team/other", "actions": []},
    ]
    assert granted(token({"access": access})) == {"team/model": ("pull", "push"), "team/other": ()}


def test_hostile_names_are_made_printable() -> None:
    access = [{"name": "team/\x1b[31m", "actions": ["\x07pull"]}]
    assert granted(token({"access": access})) == {"team/\\x1b[31m": ("\\x07pull",)}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer opaque",
        "Bearer a.b.c",
        "Bearer a.!!.c",
        "Basic YTpi",
        token([]),
        token({}),
        token({"access": "pull"}),
        f"Bearer a.{'A' * 100_000}.c",
        f"Bearer a.{base64.urlsafe_b64encode(b'[' * 30_000).decode()}.c",
    ],
)
def test_other_tokens_do_not_tell(header: str) -> None:
    assert granted(header) is None


def test_odd_entries_are_left_out() -> None:
    assert granted(token({"access": [3, {"name": "x"}, {"actions": "pull"}]})) == {}


@given(st.text())
def test_nothing_breaks_it(text: str) -> None:
    granted(f"Bearer {text}")
