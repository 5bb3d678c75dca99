"""The command `bundle registry`."""

from __future__ import annotations

import click

from modelops_bundle.operations import catalog
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command, group


@group("registry", example="bundle registry list registry.example.com/team")
def registry(context: Context) -> None:
    """Ask registries what they have and what they can."""


@command(
    "list",
    group=registry,
    example="bundle registry list registry.example.com\nbundle registry list localhost:5000/team",
)
@click.argument("place", required=False, metavar="[HOST[/PATH]]")
def list_(context: Context, place: str | None) -> None:
    """List the repositories of a registry, or those at and below a path; without HOST, those of the namespace."""
    with session(context, need_bundle=False) as here:
        host, found = catalog.repositories(here, place)
    context.out.result({"host": host, "repositories": found}, [f"{host}/{name}" for name in found])
