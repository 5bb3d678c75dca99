"""The command `bundle config`."""

from __future__ import annotations

import click

from modelops_bundle.errors import BundleError, NotFound, UsageError
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command, group
from modelops_bundle.workspace.config import key_rule, parse_value


@group("config", example="bundle config list\nbundle config set remotes.origin.race strict")
def config(context: Context) -> None:
    """Read and change the bundle's settings (.modelops-bundle/config.toml)."""


@command("get", group=config, example="bundle config get remotes.origin.url")
@click.argument("key")
def get(context: Context, key: str) -> None:
    """Print one value."""
    key_rule(key)
    with session(context, configure=False) as here:
        value = here.project.own_config().get(key)
    if value is None:
        raise NotFound(f"{key} is not set", hint="bundle config list")
    context.out.result({"key": key, "value": value}, [_text(value)])


@command("set", group=config, example="bundle config set roles.tokenizer 'tok/*,vocab.txt'")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--unset", is_flag=True, help="Remove the key.")
def set_(context: Context, key: str, value: str | None, unset: bool) -> None:
    """Change one value; comments in the file stay."""
    if (value is None) != unset:
        raise UsageError("give a value, or --unset")
    key_rule(key)
    parsed = None if value is None else parse_value(key, value)
    with session(context, configure=False) as here, here.project.locked():
        before = here.project.own_config().get(key)
        here.project.edit_config({key: parsed})
        try:
            here.project.own_config().remotes()
        except BundleError:
            here.project.edit_config({key: before})
            raise
    context.out.result({"key": key, "value": parsed}, [f"{key} removed" if unset else f"{key} = {_text(parsed)}"])


@command("list", group=config, example="bundle config list")
def list_(context: Context) -> None:
    """Print every value that is set."""
    with session(context, configure=False) as here:
        values = here.project.own_config().flat()
    context.out.result({"config": values}, [f"{key} = {_text(value)}" for key, value in sorted(values.items())])


def _text(value: object) -> str:
    return (
        ",".join(map(str, value))
        if isinstance(value, list)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
