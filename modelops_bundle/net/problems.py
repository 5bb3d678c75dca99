"""Answers and broken connections in our words: status, the registry's own code and message, a hint.

distribution-spec, "Error Codes": `{"errors": [{"code", "message", "detail"}]}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelops_bundle.errors import BundleError, NotFound, RateLimited, Unauthorized, Unavailable, Unsupported
from modelops_bundle.net.redact import HIDDEN, redact, safe

TRANSIENT = frozenset([408, 429, 500, 502, 503, 504, 507, 508, 509, 520, 521, 522, 523, 524, 529])
"""Statuses after which another attempt may succeed. 404 and 403 are answers, never retried."""
_OF_PROXIES = frozenset([413, 429])
"""Statuses of a limit, which mean the same when a proxy before the registry sends them with a page for people."""
MAX_ERROR = 8 * 1024
"""Most bytes read of an error's body."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One entry of a registry's `errors`, printable. `digests` are those its detail names."""

    code: str
    message: str
    digests: tuple[str, ...] = ()


def complaints(body: bytes, hide: Iterable[str] = ()) -> list[Complaint]:
    """The errors of a registry's JSON answer; empty when it is anything else.

    :param hide: what it knows of us and may quote.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    errors = value.get("errors") if isinstance(value, dict) else None
    if not isinstance(errors, list):
        return []
    return [_complaint(entry, hide) for entry in errors[:100] if isinstance(entry, dict)]


def _complaint(entry: Mapping[str, Any], hide: Iterable[str]) -> Complaint:
    code, message = (str(entry.get(key) or "") for key in ("code", "message"))
    for secret in hide:
        message = message.replace(secret, HIDDEN)
    code, message = (safe(redact(text), 200) for text in (code, message))
    return Complaint(code, message, tuple(_digests(entry.get("detail"))))


def _digests(detail: object) -> list[str]:
    # distribution: {"digest": "sha256:…"} or {"Tag": …}; others: the bare text.
    found = detail.get("digest", detail.get("Digest")) if isinstance(detail, dict) else detail
    text = found if isinstance(found, str) else ""
    return [text] if text.startswith("sha256:") and len(text) == 71 else []


def is_html(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer is a web page: of a proxy, a login form, a wrong port."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") or body[:64].lstrip()[:5].lower() in (b"<html", b"<!doc")


def of_status(
    status: int, headers: Mapping[str, str], body: bytes, *, host: str, what: str, hide: Iterable[str] = ()
) -> BundleError:
    """The error of an answer that its caller did not expect.

    :param headers: names in lower case.
    :param body: at most `MAX_ERROR` bytes of it.
    :param host: `HOST[:PORT]` that answered.
    :param what: what was asked for, for the message. :param hide: as for `complaints`.
    """
    facts: dict[str, Any] = {"host": host, "status": status}
    if is_html(headers, body) and status not in _OF_PROXIES:
        return Unavailable(
            f"{host} answered with HTML, not a registry (status {status}, {what})",
            hint="check the host name and port, and any proxy in between",
            **facts,
        )
    said = complaints(body, hide)
    if said:
        facts["registry_code"], facts["registry_message"] = said[0].code, said[0].message
    reason = f": {said[0].code} {said[0].message}".rstrip() if said else ""
    return _by_status(status, f"{host} answered {status} to {what}{reason}", facts)


def _by_status(status: int, text: str, facts: dict[str, Any]) -> BundleError:
    if status in (401, 403):
        return Unauthorized(text, hint="bundle login HOST, or set BUNDLE_USERNAME and BUNDLE_PASSWORD", **facts)
    if status in (404, 410):
        return NotFound(text, **facts)
    if status == 413:
        return Unsupported(text, hint="this registry, or a proxy before it, limits the size of uploads", **facts)
    if status == 429:
        return RateLimited(text, hint="wait, then run the same command again", **facts)
    if status in TRANSIENT:
        return Unavailable(text, hint="run the same command again later: what is done stays done", **facts)
    return Unavailable(text, **facts)
