"""The command `bundle referrers`."""

from __future__ import annotations

import click

from modelops_bundle.model import media
from modelops_bundle.operations import referrers as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("referrers", example="bundle referrers :v1\nbundle referrers :v1 --type application/spdx+json")
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--type", "artifact_type", metavar="TYPE", help="Only those of this type.")
@click.option("--recursive", "-r", is_flag=True, help="Also what refers to them, and so on.")
def referrers(context: Context, reference: str | None, artifact_type: str | None, recursive: bool) -> None:
    """List what was attached to a version: signatures, SBOMs, evaluations."""
    with session(context, need_bundle=reference is None) as here:
        subject, digest, found = operation.referrers(here, reference, artifact_type=artifact_type, recursive=recursive)
    rows = [
        (
            "  " * depth + str(each.what.digest),
            each.what.artifact_type or each.what.media_type,
            text.size(each.what.size),
            each.created or "-",
            " ".join(f"{key}={value}" for key, value in each.what.annotations.items() if key != media.CREATED),
        )
        for top in found
        for depth, each in top.walk()
    ]
    context.out.result(
        {"place": str(subject.at()), "digest": str(digest), "referrers": [each.to_json() for each in found]},
        text.table(rows, head=("DIGEST", "TYPE", "SIZE", "CREATED", "ANNOTATIONS"), right=(2,)),
    )
