"""The command `bundle remote`."""

from __future__ import annotations

import click

from modelops_bundle.operations import init, remotes
from modelops_bundle.operations.session import Session
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import remembered, session
from modelops_bundle.ui.cli.command import Context, command, group
from modelops_bundle.workspace.config import Remote


@group("remote", example="bundle remote list\nbundle remote add prod registry.example.com/prod/model")
def remote(context: Context) -> None:
    """Name the places to push to and pull from."""


def _shown(found: Remote) -> dict[str, object]:
    shown = {"name": found.name, "url": str(found.reference), "tag": found.tag, "race": found.race}
    return {**shown, "settings": found.options.said()}


def _set(here: Session, name: str, reference: str, *, new: bool) -> tuple[Remote, list[text.Line]]:
    made = remotes.set_remote(here, name, reference, new=new)
    said = remotes.settings(here.options, here.project.root) if made.reference.scheme == "oci" else {}
    return made, [f"Remote {made.name} is {made.reference}", *remembered(made.name, said)]


@command("list", group=remote, example="bundle remote list")
def list_(context: Context) -> None:
    """List the remotes; the first one is the default."""
    with session(context) as here:
        found = remotes.list_remotes(here)
    rows = [(each.name, str(each.reference), each.tag, each.race) for each in found]
    context.out.result({"remotes": [_shown(each) for each in found]}, text.table(rows))


@command("add", group=remote, example="bundle remote add prod registry.example.com/prod/model")
@click.argument("name")
@click.argument("reference", metavar="REF")
def add(context: Context, name: str, reference: str) -> None:
    """Add a remote. Flags about its host (--insecure, --ca-file, …) are remembered with it."""
    with session(context) as here:
        made, lines = _set(here, name, reference, new=True)
    context.out.result(_shown(made), lines)


@command("set", group=remote, example="bundle remote set origin registry.example.com/team/model")
@click.argument("name")
@click.argument("reference", metavar="REF")
def set_(context: Context, name: str, reference: str) -> None:
    """Let a remote be another place, or be reached in another way: flags about its host are remembered with it."""
    with session(context) as here:
        made, lines = _set(here, name, reference, new=False)
    context.out.result(_shown(made), lines)


@command("rm", group=remote, example="bundle remote rm prod")
@click.argument("name")
def rm(context: Context, name: str) -> None:
    """Forget a remote."""
    with session(context) as here:
        remotes.remove_remote(here, name)
    context.out.result({"removed": name}, [f"Remote {name} removed"])


@command("seen", group=remote, example="bundle remote seen\nbundle remote seen prod:v1")
@click.argument("reference", required=False, metavar="[REF]")
def seen(context: Context, reference: str | None) -> None:
    """Record what REF holds now as seen, so that a push may replace it. Downloads no file."""
    with session(context) as here:
        digest = init.see(here, reference)
    told = f"Seen: {digest}" if digest else "The reference does not exist; a push may create it"
    context.out.result({"seen": digest}, [told])
