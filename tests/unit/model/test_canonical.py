"""One value, one spelling; and nothing ambiguous is read."""

from __future__ import annotations

import json

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import canonical


def load(data: bytes, limit: int = 1 << 20) -> dict[str, object]:
    return canonical.loads(data, "the thing", limit=limit)


def test_keys_are_sorted_and_blanks_left_out() -> None:
    assert (
        canonical.dumps({"b": [1, True, None], "a": {"d": "x", "c": 0}}) == b'{"a":{"c":0,"d":"x"},"b":[1,true,null]}'
    )


def test_text_is_utf8_not_escapes() -> None:
    assert canonical.dumps({"é": "\u202e\x7f"}) == b'{"\xc3\xa9":"\xe2\x80\xae\x7f"}'


def test_there_is_no_trailing_newline() -> None:
    assert not canonical.dumps({}).endswith(b"\n")


def test_no_number_that_json_lacks_is_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical.dumps({"a": float("nan")})


def test_an_object_is_read() -> None:
    assert load(b' {"a": [1, {"b": "\\u00e9"}]} ') == {"a": [1, {"b": "é"}]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"{",
        b'{"a":1,}',
        b"{} {}",
        b"\xff{}",
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\\ud800"}',
        b'{"\\udc80":1}',
        b'{"a":' + b"1" * 5000 + b"}",
        "{}".encode("utf-16"),
    ],
)
def test_what_is_not_json_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match="the thing is not JSON"):
        load(data)


@pytest.mark.parametrize("data", [b"[]", b'"x"', b"1", b"null", b"true"])
def test_what_is_no_object_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match="not a JSON object"):
        load(data)


@pytest.mark.parametrize("data", [b'{"a":1,"a":1}', b'{"x":[{"a":1,"b":2,"a":3}]}', b'{"a":1,"\\u0061":2}'])
def test_a_key_twice_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match="duplicate key"):
        load(data)


def test_one_byte_too_many_is_corrupt_and_never_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(b'{"a":1}', limit=7) == {"a": 1}
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(Corrupt, match="7 bytes, more than the 6 accepted"):
        load(b'{"a":1}', limit=6)


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_depth_is_limited_exactly() -> None:
    load(nested(canonical.MAX_DEPTH))
    with pytest.raises(Corrupt, match="nested deeper"):
        load(nested(canonical.MAX_DEPTH + 1))


def test_two_hundred_thousand_levels_are_refused_without_recursion() -> None:
    for data in (nested(200_000), b"[" * 200_000, b'{"a":' * 200_000):
        with pytest.raises(Corrupt, match="nested deeper"):
            load(data, limit=1 << 22)


@pytest.mark.parametrize("text", ["[" * 500, "]{" * 500, '\\"[' * 200, "\\" * 501 + "[" * 99, '\\\\"'])
def test_brackets_inside_strings_are_not_levels(text: str) -> None:
    value = {"a": text, "b": [[]] * 100}
    assert load(json.dumps(value).encode()) == value


def test_a_string_that_does_not_end_is_not_json_and_quick() -> None:
    for data in (b"[" * 65 + b'"' * 500_000, b"[" * 65 + b'"\\' * 500_000):
        with pytest.raises(Corrupt):
            load(data, limit=1 << 22)


def test_many_shallow_objects_are_fine() -> None:
    value = {"rows": [{"at": [n]} for n in range(10_000)]}
    assert load(canonical.dumps(value)) == value


def test_a_long_document_that_is_cut_off_says_so() -> None:
    data = canonical.dumps({"rows": [{"at": [n]} for n in range(1000)]})
    with pytest.raises(Corrupt, match="cut off"):
        load(data[:-3])
