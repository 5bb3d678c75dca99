from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import BundleError, NotFound, RateLimited, Unauthorized, Unavailable, Unsupported
from modelops_bundle.net.problems import complaints, is_html, of_status

JSON = {"content-type": "application/json"}
DIGEST = "sha256:" + "a" * 64


def body(*errors: dict[str, object]) -> bytes:
    return json.dumps({"errors": list(errors)}).encode()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Unavailable),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (405, Unavailable),
        (410, NotFound),
        (413, Unsupported),
        (416, Unavailable),
        (418, Unavailable),
        (429, RateLimited),
        (500, Unavailable),
        (503, Unavailable),
        (599, Unavailable),
        (302, Unavailable),
    ],
)
def test_every_status_has_its_error(status: int, kind: type[BundleError]) -> None:
    error = of_status(status, JSON, body({"code": "DENIED", "message": "no way"}), host="h:1", what="GET blob")
    assert type(error) is kind
    assert error.message == f"h:1 answered {status} to GET blob: DENIED no way"
    assert error.facts["host"] == "h:1"
    assert error.facts["status"] == status
    assert error.facts["registry_code"] == "DENIED"


def test_pages_are_named() -> None:
    error = of_status(200, {"content-type": "text/html; charset=x"}, b"", host="h", what="GET tags")
    assert "answered with HTML, not a registry" in error.message
    assert is_html({}, b"  <!DOCTYPE html>")
    assert is_html({}, b"<HTML>")
    assert not is_html(JSON, b"{}")


def test_hostile_words_are_tamed() -> None:
    said = body({"code": "A\x1b[31m", "message": "\u202e token=canary https://u:canary@h/?sig=canary" + "x" * 1000})
    error = of_status(500, JSON, said, host="h", what="GET blob")
    text = error.message + str(error.facts)
    assert "canary" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(error.message) < 500


def test_digests_of_missing_blobs() -> None:
    found = complaints(
        body({"code": "X", "detail": {"digest": DIGEST}}, {"code": "Y", "detail": DIGEST}, {"code": "Z"})
    )
    assert [one.digests for one in found] == [(DIGEST,), (DIGEST,), ()]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"errors": 7}', b'{"errors": [7, null]}', b"[" * 100_000])
def test_other_bodies_say_nothing(data: bytes) -> None:
    assert complaints(data) == []


@given(st.binary(max_size=200), st.integers(100, 599))
def test_no_body_breaks_it(data: bytes, status: int) -> None:
    assert of_status(status, {}, data, host="h", what="w").exit_code in (6, 7, 8, 10)
