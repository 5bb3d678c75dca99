"""The command `bundle verify`."""

from __future__ import annotations

import click

from modelops_bundle.operations import verify as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("verify", example="bundle verify\nbundle verify :v1")
@click.argument("reference", required=False, metavar="[REF]")
def verify(context: Context, reference: str | None) -> None:
    """Read every byte of the tree, or of a stored version, and compare it with its digest.

    Exit 9 when bytes are damaged, 5 when files were edited or are missing.
    """
    with session(context, need_bundle=reference is None) as here:
        if reference is None:
            report = operation.verify_tree(here)
        else:
            report = operation.verify_remote(here, reference)
    report.check()
    noun = "file" if reference is None else "blob"
    lines = [f"{report.what}: {text.count(report.files, noun)} verified ({text.size(report.size)})"]
    context.out.result(report.to_json(), lines)
