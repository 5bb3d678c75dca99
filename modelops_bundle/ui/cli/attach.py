"""The command `bundle attach`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.operations import attach as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command

_EXAMPLE = """\
bundle attach :v1 eval.json --type application/vnd.example.evaluation
bundle attach :v1 sbom.json:application/spdx+json --type application/spdx+json --annotation by=ci"""


@command("attach", example=_EXAMPLE)
@click.argument("reference", metavar="REF")
@click.argument("files", nargs=-1, metavar="[FILE[:MEDIA/TYPE]]...")
@click.option("--type", "artifact_type", required=True, metavar="TYPE", help="What it is: a media type.")
@click.option("--annotation", multiple=True, metavar="KEY=VALUE", help="An annotation of what is attached.")
def attach(
    context: Context, reference: str, files: tuple[str, ...], artifact_type: str, annotation: tuple[str, ...]
) -> None:
    """Attach files to a version: as an artifact of its own, which bundle referrers and other tools find."""
    annotations = _annotations(annotation)
    with session(context, need_bundle=False) as here:
        done = operation.attach(here, reference, files, artifact_type, annotations)
    if done.changed:
        lines = [f"Attached to {done.subject}", f"{text.count(done.files, 'file')}, {text.size(done.sent_bytes)} sent"]
    else:
        lines = [f"Attached already to {done.subject}"]
    context.out.result(done.to_json(), [*lines, str(done.digest)])


def _annotations(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--annotation wants KEY=VALUE, not {pair!r}")
        found[key] = value
    return found
