"""What may be shown: no secrets, no control sequences (facts: reliability §4, R8 and D4)."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"

_URL = re.compile(r"\bhttps?://[^\s\"'<>\\]+", re.IGNORECASE)
_SECRET_KEY = r"[\w-]*(?:password|passwd|secret|token|signature|api[_-]?key|access[_-]?key|credential)|sig"
_SECRETS: tuple[tuple[str, str], ...] = (
    # Shapes that are secrets wherever they stand: JSON web tokens and the prefixed tokens of well-known services.
    (r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", HIDDEN),
    (r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,})", HIDDEN),
    (r"\b(?:dckr_pat_[\w-]{10,}|xox[abprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16})", HIDDEN),
    (r"(?i)\b((?:proxy-)?authorization)\b(['\"]?\s*[:=]\s*['\"]?)(?:\w+\s+)?[^\s'\",;)]+", rf"\1\2{HIDDEN}"),
    # "basic authentication" is prose: a credential has an upper-case letter, a digit or padding.
    (r"\b((?i:bearer|basic))\s+(?=[\w.~+/=-]*[A-Z0-9=])[\w.~+/=-]{6,}", rf"\1 {HIDDEN}"),
    (rf"(?i)\b({_SECRET_KEY})(['\"]?\s*[=:]\s*b?['\"]?)[^\s&'\",;)\]}}]+", rf"\1\2{HIDDEN}"),
    # Userinfo of a URL. `mem://name@sha256:…` is a reference, not a password.
    (r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"<>]+@(?!sha(?:256|512):)", rf"\1{HIDDEN}@"),
    (r"\b[\w.+-]+:[^\s/@'\"]+@(?=[\w-]+(?:\.[\w-]+)+|localhost\b)", f"{HIDDEN}@"),
)
_SECRET_NAME = rf"(?i)(?:{_SECRET_KEY}|(?:proxy-)?authorization)"

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN_PARAMETERS = frozenset(["n", "last", "digest", "mount", "from", "scope", "service", "artifacttype", "tag"])
# General categories that steer a terminal or reorder text: control, format, surrogate, private, line, paragraph.
_STEERING = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"])


def has_controls(text: str) -> bool:
    """Whether `text` has C0, C1 or DEL characters: CR, LF and NUL would end a header early."""
    return _CONTROLS.search(text) is not None


def safe(text: str, limit: int = 500) -> str:
    """`text` from a remote as one printable line: control and bidirectional characters are escaped."""
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join(_escaped(character) for character in shown)
    return shown + ("…" if len(text) > limit else "")


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _STEERING:
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def redact_url(url: str) -> str:
    """`url` without userinfo, fragment, and the values of query parameters that are not known to be harmless."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    _, at, host = parts.netloc.rpartition("@")
    netloc = f"{HIDDEN}@{host}" if at else host
    pairs = [_shown(pair) for pair in parts.query.split("&")] if parts.query else []
    return safe(urlunsplit((parts.scheme, netloc, parts.path, "&".join(pairs), "")), 2000)


def _shown(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return pair if name.lower() in _SHOWN_PARAMETERS or not equals else f"{name}={HIDDEN}"


@functools.cache
def _compiled() -> list[tuple[re.Pattern[str], str]]:
    # Not at import: compiling takes longer than most commands that succeed spend in this module.
    return [(re.compile(pattern), replacement) for pattern, replacement in _SECRETS]


def redact(text: str) -> str:
    """`text` for messages and events: URLs redacted, and anything that looks like a credential hidden.

    Errs on the side of hiding.
    """
    text = _URL.sub(lambda found: redact_url(found[0]), text)
    for pattern, replacement in _compiled():
        text = pattern.sub(replacement, text)
    return text


def redacted(value: object) -> object:
    """A JSON-like value with every string in it redacted, and values under secret-sounding keys hidden."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN if item and re.fullmatch(_SECRET_NAME, str(key)) else redacted(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redacted(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact(str(value))
