"""Canonical JSON: one value, one spelling; and a strict reader for bytes from elsewhere.

UTF-8, keys sorted, no insignificant blanks, no trailing newline (the subset of RFC 8785 that strings,
integers, booleans and containers need; floats never occur in what we write).
"""

from __future__ import annotations

import json
import re
from typing import Any

from modelops_bundle.errors import Corrupt

MAX_DEPTH = 64
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")


def dumps(value: Any) -> bytes:
    """Serialise `value` canonically."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Corrupt("JSON object with a duplicate key")
    return result


def loads(data: bytes, what: str, *, limit: int) -> dict[str, Any]:
    """Parse one JSON object.

    :param what: names the document in messages.
    :param limit: most bytes accepted.
    :raises Corrupt: too large, too deep, not UTF-8, not JSON, not an object, or a key twice (parsers that differ
        in which of two equal keys wins would read two different artifacts from one digest).
    """
    if len(data) > limit:
        raise Corrupt(f"{what} is {len(data)} bytes, more than the {limit} accepted")
    if _too_deep(data):
        raise Corrupt(f"{what} is nested deeper than {MAX_DEPTH} levels, or cut off")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        if b"\\u" in data:
            # "\ud800" is JSON and no text: it has no UTF-8 form, as a name or anything else.
            dumps(value)
    except (UnicodeError, ValueError) as error:
        start = data[:40].decode("utf-8", "replace")
        raise Corrupt(f"{what} is not JSON (it begins with {start!r})") from error
    if not isinstance(value, dict):
        raise Corrupt(f"{what} is not a JSON object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _too_deep(data: bytes) -> bool:
    """Whether brackets nest deeper than `MAX_DEPTH`, or do not match. Linear, and in C: snapshots have megabytes."""
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return False
    outside = _STRING.sub(b"", data) if b"\\" in data else b"".join(data.split(b'"')[::2])
    brackets = outside.translate(_SQUARE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):
            break
        brackets = outer
    return bool(brackets)
