"""registry list: the repositories of a registry."""

from __future__ import annotations

from modelops_bundle.errors import UsageError
from modelops_bundle.model.reference import parse
from modelops_bundle.operations.session import Session


def repositories(session: Session, place: str | None) -> tuple[str, list[str]]:
    """The host, and its repositories at and below the path in `place`.

    :param place: `HOST[/PATH]`; None is the namespace of the settings.
    :raises UsageError: neither. :raises Unsupported: the registry offers no list.
    """
    from modelops_bundle.stores.catalog import repositories

    text = place or session.namespace
    if not text:
        raise UsageError("registry list wants a HOST", hint="bundle registry list HOST[/PATH]")
    host, _, prefix = text.removeprefix("oci://").rstrip("/").partition("/")
    # As a part of a reference both are held to its grammar.
    parsed = parse(f"oci://{host}/{prefix or 'any'}")
    if parsed.at() != parsed:
        raise UsageError(f"not a part of a registry: {text[:200]!r}", hint="bundle registry list HOST[/PATH]")
    return parsed.host, repositories(session.client(parsed.host), parsed.host, prefix)
