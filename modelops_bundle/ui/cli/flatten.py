"""The command `bundle flatten`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.text import Line

if TYPE_CHECKING:
    from modelops_bundle.operations import flatten as operation


@command(
    "flatten",
    example="bundle flatten :v2\nbundle flatten registry.example.com/team/model:nightly --tag v3",
)
@click.argument("reference", metavar="REF")
@click.option("--tag", metavar="NEW", help="Write this tag instead of moving the one of REF.")
@click.option("--expect", metavar="DIGEST", help="Move a tag that stands for this.")
@click.option("--force", is_flag=True, help="Move the tag whatever it stands for.")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be written.")
def flatten(
    context: Context, *, reference: str, tag: str | None, expect: str | None, force: bool, dry_run: bool
) -> None:
    """Write the plain version of one in delta storage, which every tool can read, and let its tag stand for that.

    The bytes go through here, from the registry to the registry; nothing of them stays.
    """
    from modelops_bundle.operations import flatten as operation

    with session(context, need_bundle=False) as here:
        done = operation.flatten(here, reference, tag=tag, expect=expect, force=force, dry_run=dry_run)
    context.out.result(done.to_json(), _lines(done))


def _lines(done: operation.Result) -> list[Line]:
    if not done.changed:
        return [f"{done.reference} is plain already: {done.before}"]
    files = f"{text.count(len(done.files), 'file')} ({text.size(done.size)})"
    if done.dry_run:
        return [f"Would write {files} of {done.before} as whole blobs, and let {done.reference} stand for them"]
    sent = f"{done.sent} sent ({text.size(done.sent_size)}), {done.existing} already there"
    return [
        f"{done.reference} is {done.digest}, the plain version of {done.before}",
        f"Stored whole now: {files}; {sent}",
    ]
