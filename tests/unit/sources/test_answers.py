"""Whatever a hub sends is read or refused in our words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelops_bundle.errors import Corrupt, Unavailable
from modelops_bundle.model.remote import Heard
from modelops_bundle.sources import answers


def heard(body: bytes, **headers: str) -> Heard:
    return Heard(
        200, {name.replace("_", "-"): value for name, value in headers.items()}, body, "https://hub.example/x?sig=1"
    )


def test_json_is_read() -> None:
    assert answers.load(heard(b'{"a": [1]}')) == {"a": [1]}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(Corrupt, match=r"hub\.example sent"):
        answers.load(heard(body))


def test_a_web_page_is_told() -> None:
    for page in (heard(b"x", content_type="text/html"), heard(b"<!DOCTYPE html>")):
        with pytest.raises(Unavailable, match="web page"):
            answers.load(page)


@pytest.mark.parametrize(
    ("value", "expected"),
    [({"error": "no"}, "no"), ({"message": "m", "error": "e"}, "m"), ({"error": 3}, ""), ([], ""), ({}, "")],
)
def test_refusals_are_quoted(value: Any, expected: str) -> None:
    assert answers.said(heard(json.dumps(value).encode()), "message", "error") == expected


def test_quotes_are_safe() -> None:
    assert answers.said(heard(b"<html>"), "error") == ""
    found = answers.said(heard(b'{"error": "\\u001b[31m Bearer Abc123456789 \\u202e"}'), "error")
    assert "\x1b" not in found and "Abc123456789" not in found and "\u202e" not in found


@pytest.mark.parametrize("value", [{}, {"a": "1"}, {"a": None}, {"a": True}, [], None])
def test_fields_are_of_their_kind(value: Any) -> None:
    with pytest.raises(Corrupt, match="makes no sense: its a"):
        answers.get(value, "a", int, "hub.example")
    assert answers.maybe(value, "a", int) is None


def test_fields_are_read() -> None:
    assert answers.get({"a": 1}, "a", int, "x") == answers.maybe({"a": 1}, "a", int) == 1
    assert answers.host_of("https://hub.example:8443/x?y") == "hub.example:8443"
