"""The command `bundle config`."""

from __future__ import annotations

import click

from modelops_bundle.errors import ConfigError, NotFound
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command, group
from modelops_bundle.workspace.config import key_rule


@group("config", example="bundle config list\nbundle config set remotes.origin.race strict")
def config(context: Context) -> None:
    """Read and change the bundle's settings (.modelops-bundle/config.toml)."""


@command("get", group=config, example="bundle config get remotes.origin.url")
@click.argument("key")
def get(context: Context, key: str) -> None:
    """Print one value."""
    key_rule(key)
    with session(context) as here:
        value = here.project.config.get(key)
    if value is None:
        raise NotFound(f"{key} is not set", hint="bundle config list")
    context.out.result({"key": key, "value": value}, [_text(value)])


@command("set", group=config, example="bundle config set roles.tokenizer 'tok/*,vocab.txt'")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--unset", is_flag=True, help="Remove the key.")
def set_(context: Context, key: str, value: str | None, unset: bool) -> None:
    """Change one value; comments in the file stay."""
    rule = key_rule(key)
    if (value is None) != unset:
        raise ConfigError("give a value, or --unset")
    try:
        parsed = None if value is None else rule(value)
    except ValueError as error:
        raise ConfigError(f"{key} cannot be {value!r}", hint=f"it wants {error}") from error
    with session(context) as here, here.project.locked():
        before = here.project.config.values
        here.project.edit_config({key: parsed})
        try:
            here.project.config.remotes()
        except ConfigError:
            here.project.edit_config({key: _dig(before, key)})
            raise
    context.out.result({"key": key, "value": parsed}, [f"{key} removed" if unset else f"{key} = {_text(parsed)}"])


def _dig(values: object, key: str) -> object:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


@command("list", group=config, example="bundle config list")
def list_(context: Context) -> None:
    """Print every value that is set."""
    with session(context) as here:
        values = here.project.config.flat()
    context.out.result({"config": values}, [f"{key} = {_text(value)}" for key, value in sorted(values.items())])


def _text(value: object) -> str:
    return (
        ",".join(map(str, value))
        if isinstance(value, list)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
