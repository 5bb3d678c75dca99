"""Passwords of private keys: from the variable that cosign reads, or typed. Never from the command line."""

from __future__ import annotations

import os
from collections.abc import Callable

from modelops_bundle.errors import Interrupted, UsageError
from modelops_bundle.ui.cli.command import Context

VARIABLE = "COSIGN_PASSWORD"


def of_key(context: Context, *, new: bool = False) -> Callable[[], bytes]:
    """What asks for the password of a private key. Call it while no progress is shown.

    :param new: of one that is about to be made: it is typed twice.
    """

    def ask() -> bytes:
        given = os.environ.get(VARIABLE)
        if given is not None:
            return os.fsencode(given)
        settings = context.settings
        if settings.json or not (settings.stdin_is_tty and settings.stderr_is_tty):
            raise UsageError(
                "there is no terminal to ask for the password of the key on",
                hint=f"put it into the variable {VARIABLE}, which cosign reads as well",
            )
        typed = _typed("Password of the key (not shown): ")
        if new and _typed("Once more: ") != typed:
            raise UsageError("these were two passwords", hint="nothing was written")
        return typed.encode()

    return ask


def _typed(question: str) -> str:
    import getpass

    try:
        return getpass.getpass(question)
    except EOFError:
        raise Interrupted("no password was given", hint="nothing was signed or written") from None
