"""The command `bundle log`."""

from __future__ import annotations

import click

from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("log", example="bundle log -n 5")
@click.option("-n", "--number", type=click.IntRange(1), default=20, metavar="N", help="How many entries (default 20).")
def log(context: Context, number: int) -> None:
    """Show what this clone pushed and pulled, newest first."""
    with session(context) as here:
        entries = here.project.history()[::-1][:number]
    rows = [
        (str(e.get("time")), str(e.get("verb")), str(e.get("digest"))[7:19], str(e.get("reference"))) for e in entries
    ]
    context.out.result({"log": entries}, text.table(rows))
