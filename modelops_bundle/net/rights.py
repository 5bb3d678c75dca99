"""What a token says it allows, for people to read: never a decision, as only the registry can verify it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from modelops_bundle.net.redact import safe

_MOST = 64 * 1024


def granted(header: str) -> Mapping[str, tuple[str, ...]] | None:
    """The actions by repository of a Bearer token in the distribution project's form (RFC 7519, claim `access`).

    :param header: the value of `Authorization`.
    :returns: None where the token does not tell.
    """
    scheme, _, token = header.partition(" ")
    parts = token.split(".")
    if scheme != "Bearer" or len(parts) != 3 or len(token) > _MOST:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    access = claims.get("access") if isinstance(claims, dict) else None
    if not isinstance(access, list):
        return None
    found: dict[str, tuple[str, ...]] = {}
    for entry in access:
        if isinstance(entry, dict) and isinstance(entry.get("actions"), list):
            actions = tuple(safe(str(action), 40) for action in entry["actions"])
            found[safe(str(entry.get("name")), 200)] = actions
    return found
