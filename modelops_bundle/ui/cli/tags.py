"""The command `bundle tags`."""

from __future__ import annotations

import click

from modelops_bundle.operations import listing
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("tags", example="bundle tags\nbundle tags --names registry.example.com/team/model")
@click.argument("repository", required=False, metavar="[REPO]")
@click.option("--all", "everything", is_flag=True, help="Also the tags that tools keep for themselves.")
@click.option("--names", is_flag=True, help="Names only: no request for each tag.")
def tags(context: Context, repository: str | None, everything: bool, names: bool) -> None:
    """List the tags of the remote, or of REPO."""
    if names:
        with session(context, need_bundle=repository is None) as here:
            place, named = listing.tag_names(here, repository, service=everything)
        context.out.result({"repository": str(place), "tags": [{"tag": name} for name in named]}, named)
        return
    with session(context, need_bundle=repository is None) as here:
        place, found = listing.tags(here, repository, service=everything)
    rows = [
        (
            tag.name,
            tag.digest.short,
            text.size(tag.size) if tag.size is not None else "-",
            str(tag.files) if tag.files is not None else "-",
            tag.created or "-",
            _kind(tag),
        )
        for tag in found
    ]
    context.out.result(
        {"repository": str(place), "tags": [tag.to_json() for tag in found]},
        text.table(rows, head=("TAG", "DIGEST", "SIZE", "FILES", "CREATED", "KIND"), right=(2, 3)),
    )


def _kind(tag: listing.Tag) -> str:
    if tag.storage != "delta" or tag.stored is None:
        return tag.kind
    return f"{tag.kind} (delta storage: {text.size(tag.stored)})"
