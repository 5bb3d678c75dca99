"""A login that the distribution registry accepts, which knows passwords by their bcrypt only.

Nothing in the standard library of today makes bcrypt, so it was made beforehand (crypt(3), cost 4). The password has
the canary in it: what `canary.secret` makes would be another one in each test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.canary import CANARY, secret

USER = "bob"
_PASSWORD = f"password-{CANARY}-htpasswd"
_BCRYPT = "$2y$04$abcdefghijklmnopqrstuujCrQBheWYvD6R5/ybVx.RRhEScikVCq"


def password() -> str:
    """The password, for a test that the canary plugin then searches for it."""
    secret()
    return _PASSWORD


def settings(directory: Path) -> dict[str, Any]:
    """Settings of a `ProcessRegistry` that wants this login."""
    file = directory / "htpasswd"
    file.write_text(f"{USER}:{_BCRYPT}\n")
    return {"auth": {"htpasswd": {"realm": "tests", "path": str(file)}}}
