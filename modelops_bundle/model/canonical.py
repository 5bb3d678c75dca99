"""Canonical JSON: one value, one spelling; and a strict reader for bytes from elsewhere.

UTF-8, keys sorted, no insignificant blanks, no trailing newline (the subset of RFC 8785 that strings,
integers, booleans and containers need; floats never occur in what we write).
"""

from __future__ import annotations

import json
from typing import Any

from modelops_bundle.errors import Corrupt

MAX_DEPTH = 64


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
    if _depth(data) > MAX_DEPTH:
        raise Corrupt(f"{what} is nested deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (UnicodeDecodeError, ValueError) as error:
        start = data[:40].decode("utf-8", "replace")
        raise Corrupt(f"{what} is not JSON (it begins with {start!r})") from error
    if not isinstance(value, dict):
        raise Corrupt(f"{what} is not a JSON object")
    return value


def _depth(data: bytes) -> int:
    """Upper bound of the nesting; brackets inside strings only ever raise it."""
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    in_string = escaped = False
    for byte in data:
        if in_string:
            in_string, escaped = _inside_string(byte, escaped)
        elif byte == 0x22:
            in_string = True
        elif byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                break
        elif byte in b"}]":
            depth -= 1
    return deepest


def _inside_string(byte: int, escaped: bool) -> tuple[bool, bool]:
    if escaped:
        return True, False
    if byte == 0x5C:
        return True, True
    return byte != 0x22, False
