"""The command `bundle tag`."""

from __future__ import annotations

import click

from modelops_bundle.operations import tagging
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("tag", example="bundle tag :v1 stable\nbundle tag registry.example.com/team/model:v1 stable latest")
@click.argument("reference", metavar="REF")
@click.argument("names", nargs=-1, required=True, metavar="NEW...")
@click.option("--expect", metavar="DIGEST", help="Move a tag that stands for this.")
@click.option("--force", is_flag=True, help="Move tags whatever they stand for.")
def tag(context: Context, reference: str, names: tuple[str, ...], expect: str | None, force: bool) -> None:
    """Let more tags stand for a version that is there already. Nothing but its manifest is read and sent."""
    with session(context, need_bundle=False) as here:
        done = tagging.tag(here, reference, names, expect=expect, force=force)
    lines = [
        f"{done.place}:{name} is {done.digest}"
        + ("" if name in done.changed else " already")
        + (f" (it was {before})" if before is not None and name in done.changed else "")
        for name, before in done.before.items()
    ]
    context.out.result(done.to_json(), lines)
