from __future__ import annotations

from typing import Any

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.dsse import MOST_SIGNATURES, Envelope, pae, unbase64


def test_the_encoding_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "


def test_there_and_back() -> None:
    made = Envelope("a/b", b"payload", (b"one", b"two"))
    assert Envelope.from_json(made.to_json()) == made
    assert made.message == pae("a/b", b"payload")


def _with(**changes: Any) -> dict[str, Any]:
    return {**Envelope("a/b", b"payload", (b"one",)).to_json(), **changes}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        {},
        _with(payloadType=None),
        _with(payloadType=7),
        _with(payload=None),
        _with(payload=""),
        _with(payload="not base64!"),
        _with(payload="YQ"),
        _with(payload=["YQ=="]),
        _with(signatures=None),
        _with(signatures=[]),
        _with(signatures={"sig": "YQ=="}),
        _with(signatures=["YQ=="]),
        _with(signatures=[{}]),
        _with(signatures=[{"sig": ""}]),
        _with(signatures=[{"sig": "\u0000"}]),
        _with(signatures=[{"sig": "YQ=="}] * (MOST_SIGNATURES + 1)),
    ],
)
def test_what_is_no_envelope(value: object) -> None:
    with pytest.raises(Corrupt):
        Envelope.from_json(value)


def test_base64_has_one_alphabet() -> None:
    assert unbase64("+/+/") == b"\xfb\xff\xbf"
    with pytest.raises(Corrupt):
        unbase64("-_-_")
