"""The command `bundle untag`."""

from __future__ import annotations

import click

from modelops_bundle.operations import tagging
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("untag", example="bundle untag :old\nbundle untag registry.example.com/team/model:old")
@click.argument("references", nargs=-1, required=True, metavar="REF...")
@click.option("--missing-ok", is_flag=True, help="A tag that is not there is no error.")
def untag(context: Context, references: tuple[str, ...], missing_ok: bool) -> None:
    """Remove tags. What they stood for stays, under its digest and its other tags."""
    with session(context, need_bundle=False) as here:
        done = tagging.untag(here, references, missing_ok=missing_ok)
    lines = [
        f"{each.reference} removed; it was {each.digest}" if each.digest else f"{each.reference} was not there"
        for each in done
    ]
    context.out.result({"untagged": [each.to_json() for each in done]}, lines)
