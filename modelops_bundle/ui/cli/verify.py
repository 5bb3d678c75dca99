"""The command `bundle verify`."""

from __future__ import annotations

import click

from modelops_bundle.operations import verify as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("verify", example="bundle verify\nbundle verify --deep\nbundle verify :v1 --deep\nbundle verify model.tar")
@click.argument("target", required=False, metavar="[DIR or REF]")
@click.option("--deep", is_flag=True, help="Read every byte again, whatever is known of it.")
@click.option("--against", metavar="REF", help="The version that DIR should hold.")
@click.option("--repair", is_flag=True, help="Bring what rotted or is gone in the tree anew; edits stay.")
def verify(context: Context, target: str | None, deep: bool, against: str | None, repair: bool) -> None:
    """Say whether the tree here, a directory, or what a registry, layout or archive stores is what it should be.

    Exit 9 when bytes are damaged, 5 when files of a tree were edited, are missing or too many.
    """
    with session(context, need_bundle=target is None and against is None) as here:
        report = operation.verify(here, target, deep=deep, against=against, repair=repair)
    report.check()
    noun = "blob" if report.stored else "file"
    how = "" if report.deep else " (bytes not read again: --deep)"
    lines = [f"{report.what}: {text.count(report.files, noun)} verified ({text.size(report.size)}){how}"]
    context.out.result(report.to_json(), lines)
