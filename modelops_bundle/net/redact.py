"""What may be shown: no secrets, no control sequences (facts: reliability §4, R8 and D4)."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"

_URL = re.compile(r"\bhttps?://[^\s\"'<>\\]+", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"\b(basic|bearer)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}")
_PAIR = re.compile(
    r"(?P<name>[\w.-]*(?:token|secret|password|passwd|signature|credential|api_?key|authorization)[\w.-]*[\"']?\s*[=:]\s*)"
    r"(?P<value>\"[^\"]*\"|'[^']*'|[^\s&,;]+)",
    re.IGNORECASE,
)
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
    netloc = parts.netloc.rpartition("@")[2]
    pairs = [_shown(pair) for pair in parts.query.split("&")] if parts.query else []
    return safe(urlunsplit((parts.scheme, netloc, parts.path, "&".join(pairs), "")), 2000)


def _shown(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return pair if name.lower() in _SHOWN_PARAMETERS or not equals else f"{name}={HIDDEN}"


def redact(text: str) -> str:
    """`text` for messages and events: URLs redacted, and anything that looks like a secret hidden."""
    text = _URL.sub(lambda found: redact_url(found[0]), text)
    text = _AUTHORIZATION.sub(lambda found: f"{found[1]} {HIDDEN}", text)
    text = _JWT.sub(HIDDEN, text)
    return _PAIR.sub(lambda found: f"{found['name']}{HIDDEN}", text)
