"""The command `bundle init`."""

from __future__ import annotations

import click

from modelops_bundle.operations import init as operation
from modelops_bundle.operations.session import Session
from modelops_bundle.ui.cli.bundle import options, remembered, surrounding
from modelops_bundle.ui.cli.command import Context, command


@command(
    "init", example="bundle init registry.example.com/team/model\nbundle init --adopt localhost:5000/team/model:v1"
)
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--adopt", is_flag=True, help="Take what REF holds now as seen, so that a push may replace it.")
def init(context: Context, reference: str | None, adopt: bool) -> None:
    """Make this directory a bundle.

    Without REF an OCI layout inside .modelops-bundle is the remote, so everything works offline.
    """
    directory = context.settings.directory
    with context.run() as run:
        here = Session(None, run, options(context), cwd=directory, around=surrounding(context))
        done = operation.init(here, directory, reference, adopt=adopt)
    lines = [
        f"Initialised a bundle in {done.root}; remote origin is {done.remote}",
        *remembered("origin", done.settings),
    ]
    if adopt:
        lines.append(f"Adopted {done.adopted}" if done.adopted else "The remote holds nothing yet")
    document: dict[str, object] = {"root": str(done.root), "remote": done.remote, "adopted": done.adopted}
    context.out.result(document | ({"settings": done.settings} if done.settings else {}), lines)
