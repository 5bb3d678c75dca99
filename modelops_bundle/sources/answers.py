"""Reading the JSON of hubs: what is missing or of the wrong kind is their fault, and said so."""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from modelops_bundle.errors import Corrupt, Unavailable
from modelops_bundle.model.remote import Heard
from modelops_bundle.net.problems import is_html
from modelops_bundle.net.redact import redact, safe

Kind = TypeVar("Kind")


def load(heard: Heard) -> Any:
    """The JSON value of an answer.

    :raises Unavailable: a web page, of a proxy or a login form. :raises Corrupt: anything else that is no JSON.
    """
    host = host_of(heard.url)
    if is_html(heard.headers, heard.body):
        raise Unavailable(
            f"{host} answered with a web page where its API was asked",
            hint="check the address, and any proxy",
            host=host,
        )
    try:
        return json.loads(heard.body)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{host} sent an answer that is not JSON", host=host) from error


def said(heard: Heard, *names: str) -> str:
    """The first of the fields `names` of a refusal, printable; empty when it has none."""
    try:
        value = json.loads(heard.body)
    except (ValueError, RecursionError):
        return ""
    found = [value.get(name) for name in names] if isinstance(value, dict) else []
    return next((safe(redact(text), 300) for text in found if isinstance(text, str) and text), "")


def get(value: Any, name: str, kind: type[Kind], where: str) -> Kind:
    """The field `name` of an object, of `kind`.

    :raises Corrupt: it is missing, or something else.
    """
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        senseless(where, name)
    return found


def maybe(value: Any, name: str, kind: type[Kind]) -> Kind | None:
    """The field `name` of an object when it is of `kind`, else None."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, kind) and not (kind is int and isinstance(found, bool)) else None


def senseless(where: str, what: str) -> NoReturn:
    """Say that an answer of `where` cannot be used for its `what`.

    :raises Corrupt: always.
    """
    raise Corrupt(f"{where} sent an answer that makes no sense: its {what}")


def host_of(url: str) -> str:
    """`HOST[:PORT]` of a URL, for messages."""
    return safe(urlsplit(url).netloc, 200)
