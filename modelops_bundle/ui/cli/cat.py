"""The command `bundle cat`."""

from __future__ import annotations

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.operations import listing
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("cat", example="bundle cat :v1:config.json\nbundle cat registry.example.com/team/model:v1:README.md")
@click.argument("where", metavar="REF:PATH")
def cat(context: Context, where: str) -> None:
    """Print one file of a version. The bytes are verified; wrong ones end in an error."""
    reference, path = listing.split_path(where)
    if not reference or not path:
        raise UsageError(f"write REF:PATH, not {where!r}", hint="bundle cat :v1:config.json")
    with session(context, need_bundle=False, progress=False) as here, listing.cat(here, reference, path) as chunks:
        context.out.data(chunks)
