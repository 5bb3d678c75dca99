"""The commands `bundle registry`."""

from __future__ import annotations

import click

from modelops_bundle.operations import catalog, registry_check
from modelops_bundle.ui import findings
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command, group


@group("registry", example="bundle registry check\nbundle registry list registry.example.com/team")
def registry(context: Context) -> None:
    """Ask registries about themselves."""


@command("check", group=registry, example="bundle registry check\nbundle registry check ghcr.io/team/model")
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--read-only", is_flag=True, help="Store nothing there, not even for a moment.")
def check(context: Context, reference: str | None, read_only: bool) -> int:
    """Say whether a registry can be reached, whom it takes you for, and what it can do.

    Stores a blob of 64 bytes and deletes it, where that is allowed. The exit code is that of the first failure.
    """
    with session(context, need_bundle=reference is None) as here:
        place, found = registry_check.check(here, reference, read_only=read_only)
        learnt = dict(here.learned.all(place.host))
    document = {"reference": str(place), **found.to_json(), "learnt": learnt}
    context.out.result(document, [str(place), *findings.lines(found.findings)])
    return found.exit_code


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
