"""The command `bundle clone`."""

from __future__ import annotations

import click

from modelops_bundle.operations import clone as operation
from modelops_bundle.operations import remotes
from modelops_bundle.operations.session import Session
from modelops_bundle.ui.cli.bundle import options, remembered, surrounding
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.cli.pull import result_lines
from modelops_bundle.workspace.project import Project


@command("clone", example="bundle clone registry.example.com/team/model:v1\nbundle clone ./other-bundle copy")
@click.argument("reference", metavar="REF")
@click.argument("into", required=False, metavar="[DIR]")
@click.option("--seed", "seeds", multiple=True, metavar="PATH", help="Take chunks from this file or directory as well.")
def clone(context: Context, reference: str, into: str | None, seeds: tuple[str, ...]) -> None:
    """Make a new directory that holds a version and tracks it. REF may be the directory of another bundle."""
    with context.run() as run:
        here = Session(None, run, options(context, seeds), cwd=context.settings.directory, around=surrounding(context))
        root, done = operation.clone(here, reference, into)
    said = remotes.stored(here.options, Project(root))
    lines = [f"Cloned into {root}", *remembered("origin", said), *result_lines(done)]
    context.out.result({"root": str(root), **done.to_json()} | ({"settings": said} if said else {}), lines)
