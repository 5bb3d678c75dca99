"""The command `bundle import`."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.model.reference import Reference
from modelops_bundle.operations.session import Session
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.cli.cp import copied_lines
from modelops_bundle.ui.text import Line

Answer = tuple[dict[str, object], list[Line]]


@command(
    "import",
    example="bundle import model.tar\nbundle import model.tar:v1 ./model\nbundle import models.tar.gz localhost:5000/team/model",
)
@click.argument("file", metavar="FILE[:TAG]")
@click.argument("into", required=False, metavar="[REF or DIR]")
@click.option("--force", is_flag=True, help="Replace whatever the tags of REF stand for.")
@click.option("--dry-run", "-n", is_flag=True, help="Show what would be done.")
def import_(context: Context, file: str, into: str | None, force: bool, dry_run: bool) -> None:
    """Bring versions from an archive: into the tree here, a new directory, or a registry or OCI layout. FILE - is stdin.

    The whole archive is checked before anything of it is believed; files land when all their bytes are verified.
    """
    from modelops_bundle.operations import importing

    with ExitStack() as stack:
        here = stack.enter_context(session(context, need_bundle=into is None))
        name = stack.enter_context(importing.from_stream(sys.stdin.buffer, here.scratch)) if file == "-" else file
        archive = importing.archive_reference(here, name)
        if into is not None and _is_place(here, into):
            done = importing.copies(here, archive, into, force=force, dry_run=dry_run)
            document, lines = done.to_json(), copied_lines(done)
        elif force:
            raise UsageError("--force replaces tags, and a tree has none", hint="bundle pull --overwrite tar:FILE:TAG")
        else:
            document, lines = _into_tree(here, archive, into, keep=file != "-", dry_run=dry_run)
    context.out.result(document, lines)


def _is_place(here: Session, into: str) -> bool:
    """Whether `into` is a registry or a layout, and no directory to be made."""
    if into.startswith(("/", "./", "../")) or into in (".", ".."):
        return False
    if into.startswith(("oci:", "layout:", "mem:")):
        return True
    try:
        return here.reference(into).scheme != "tar"
    except UsageError:
        return False


def _into_tree(here: Session, archive: Reference, into: str | None, *, keep: bool, dry_run: bool) -> Answer:
    """:param keep: the archive stays where it is."""
    from modelops_bundle.operations import importing, pull
    from modelops_bundle.ui.cli import pull as shown

    if dry_run and into is not None:
        found = importing.look(here, archive)
        lines: list[Line] = [f"Would import {found.reference} ({found.digest}) into {into}"]
        return {"reference": str(found.reference), "digest": str(found.digest), "dry_run": True}, lines
    planned = importing.into_tree(here, archive, into)
    if dry_run:
        return {**shown.document(planned.plan), "dry_run": True}, list(shown.plan_lines(planned.plan))
    planned.plan.check()
    done = pull.apply_pull(planned.inside, planned.plan)
    if not keep:
        importing.forget_source(planned)
    lines = [f"Imported into {planned.root}", *shown.result_lines(done)]
    return {"root": str(planned.root), **done.to_json()}, lines
