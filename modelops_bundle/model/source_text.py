"""What all source addresses have in common: percent-encoding, queries, refusals that never repeat a secret."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote

from modelops_bundle.errors import UsageError

MAX_ADDRESS = 8192
"""Characters of an address; longer ones are no addresses that people write."""
SECRET_PARAMETERS = frozenset(["token", "access_token", "api_key", "apikey", "key", "password"])
"""Query parameters that prove who somebody is. Addresses go into lock files, logs and process lists."""

_ESCAPED = re.compile(r"[%?#\s\x00-\x20\x7f]")


def check(text: str) -> str:
    """Return `text` when it may be an address at all.

    :raises UsageError: empty, too long, blanks at its ends, control characters, or not UTF-8.
    """
    if not text or text != text.strip() or len(text) > MAX_ADDRESS:
        refuse(text, "an address is not empty, has no blanks around it and at most 8192 characters")
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in text):
        refuse("", "it has control characters, or is not UTF-8")
    return text


def refuse(text: str, hint: str) -> NoReturn:
    """Say that `text` is no source address.

    :raises UsageError: always. What follows a `?` is left out, and userinfo: both may be secrets.
    """
    shown = re.sub(r"//[^/@]*@", "//***@", text.partition("?")[0])[:200]
    raise UsageError(f"not a source address: {shown!r}", hint=hint)


def decoded(text: str, whole: str) -> str:
    """`text` with its percent-encoding undone, once.

    :raises UsageError: what comes out is not UTF-8, or has control characters.
    """
    try:
        result = unquote(text, errors="strict")
    except UnicodeDecodeError:
        refuse(whole, "its percent-encoding is not UTF-8")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in result):
        refuse(whole, "its percent-encoding hides control characters")
    return result


def encoded(text: str) -> str:
    """A path as it stands in a canonical address: only what would end it or be decoded is escaped."""
    return _ESCAPED.sub(lambda found: quote(found[0], safe=""), text)


def split(text: str) -> tuple[str, str, str]:
    """Path, query and fragment of what follows `SCHEME://`."""
    rest, _, fragment = text.partition("#")
    path, _, query = rest.partition("?")
    return path, query, fragment


def parameters(query: str, known: Collection[str], whole: str) -> dict[str, list[str]]:
    """The values of each parameter.

    :raises UsageError: one that is not `known`, or that is a secret.
    """
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=100):
        refuse_secret(name)
        if name not in known:
            refuse(whole, f"it has the parameter {name[:40]!r}; known are {', '.join(sorted(known))}")
        if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value) or "\ufffd" in value:
            refuse(whole, f"the value of {name!r} has control characters, or is not UTF-8")
        found.setdefault(name, []).append(value)
    return found


def refuse_secret(name: str) -> None:
    """Refuse the query parameter `name` when it holds a secret.

    :raises UsageError: it does.
    """
    if name.lower() in SECRET_PARAMETERS:
        raise UsageError(
            f"the address holds a secret, as {name}=",
            hint="take it out, and give the token in the environment: HF_TOKEN, CIVITAI_TOKEN, MODELSCOPE_API_TOKEN",
        )


def single(found: Mapping[str, list[str]], name: str, whole: str) -> str | None:
    """The one value of `name`, None when it was not given or is empty.

    :raises UsageError: several that differ.
    """
    values = set(found.get(name, ()))
    if len(values) > 1:
        refuse(whole, f"it gives {name} twice, and differently")
    return next(iter(values), None) or None


def query_of(pairs: Collection[tuple[str, str]]) -> str:
    """`?name=value&…` of `pairs`, empty for none."""
    written = (f"{name}={quote(value, safe='*[]!,:/._-~')}" for name, value in pairs)
    return "?" + "&".join(written) if pairs else ""


def agree(first: str | None, second: str | None, what: str, whole: str) -> str | None:
    """Whichever of two spellings of one thing was given.

    :raises UsageError: both were, and differ.
    """
    if first and second and first != second:
        refuse(whole, f"it names two {what}s: {first[:80]} and {second[:80]}")
    return first or second
