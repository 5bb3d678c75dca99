"""The command `bundle login`."""

from __future__ import annotations

import sys
from typing import Any

import click

from modelops_bundle.errors import Interrupted, UsageError
from modelops_bundle.ui.cli.bundle import remembered, session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.cli.options import user_config_file

_LONGEST = 64 * 1024
"""Bytes of a password or token."""


@command(
    "login",
    example="bundle login registry.example.com\n"
    "pass show registry | bundle login registry.example.com -u ci --password-stdin",
)
@click.argument("host", metavar="HOST")
@click.option("-u", "--username", metavar="USER", help="The user name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--token-stdin", is_flag=True, help="Read an identity token from standard input.")
def login(context: Context, host: str, username: str | None, password_stdin: bool, token_stdin: bool) -> None:
    """Log in to a registry. The login is verified, then stored as docker and oras store theirs.

    Flags about the host (--insecure, --ca-file, …) are remembered in your settings.
    """
    if password_stdin and token_stdin:
        raise UsageError("--password-stdin and --token-stdin both read standard input", hint="give one of them")
    if token_stdin:
        username, secret = username or "", _from_stdin("token")
    elif password_stdin:
        if not username:
            raise UsageError("--password-stdin needs a user name", hint=f"bundle login {host} -u USER --password-stdin")
        secret = _from_stdin("password")
    else:
        username, secret = _ask(context, host, username)

    from modelops_bundle.net.credentials import Credentials
    from modelops_bundle.operations import login as operation

    made = Credentials(username, "", secret) if token_stdin else Credentials(username, secret)
    with session(context, need_bundle=False) as here:
        done = operation.login(here, host, made, user_config_file())
    who = f" as {done.username}" if done.username else ""
    context.out.result(
        {
            "host": done.host,
            "username": done.username or None,
            "verified": done.verified,
            "stored": "helper" if done.helper else "file",
            "where": done.where,
        }
        | ({"settings": dict(done.settings)} if done.settings else {}),
        [
            f"Logged in to {done.host}{who} ({done.where})"
            if done.verified
            else f"Stored for {done.host}{who} ({done.where})",
            *remembered(done.host, done.settings),
        ],
    )


def _from_stdin(what: str) -> str:
    # None when started with the descriptor closed.
    stream: Any = sys.stdin
    data = stream.buffer.read(_LONGEST + 1) if stream is not None else b""
    if len(data) > _LONGEST:
        raise UsageError(f"the {what} on standard input is longer than {_LONGEST:,} bytes")
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError:
        # Not as its cause: the exception holds the bytes.
        raise UsageError(f"the {what} on standard input is not UTF-8") from None
    return _checked(text.removesuffix("\n").removesuffix("\r"), what, "on standard input")


def _checked(secret: str, what: str, where: str) -> str:
    from modelops_bundle.net.redact import has_controls

    if not secret:
        raise UsageError(f"the {what} {where} is empty")
    if has_controls(secret):
        raise UsageError(f"the {what} {where} contains control characters", hint="one line, with nothing around it")
    return secret


def _ask(context: Context, host: str, username: str | None) -> tuple[str, str]:
    settings = context.settings
    if settings.json or not (settings.stdin_is_tty and settings.stderr_is_tty):
        raise UsageError(
            "there is no terminal to ask for the password on",
            hint=f"echo $PASSWORD | bundle login {host} -u USER --password-stdin; or --token-stdin",
        )
    import getpass

    try:
        if not username:
            sys.stderr.write("User name: ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            username = _checked(line.strip(), "user name", "that was typed")
        return username, _checked(getpass.getpass("Password (not shown): "), "password", "that was typed")
    except EOFError:
        raise Interrupted("no password was given", hint="nothing was stored") from None
