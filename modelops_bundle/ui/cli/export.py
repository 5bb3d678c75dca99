"""The command `bundle export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command

if TYPE_CHECKING:
    from modelops_bundle.operations.export import Compression, Exported


@command(
    "export",
    example="bundle export -o model.tar\nbundle export :v1 :v2 -o models.tar.gz\nbundle export :v2 --since :v1 -o - | ssh host …",
)
@click.argument("references", nargs=-1, metavar="[REF]…")
@click.option(
    "--output", "-o", required=True, metavar="FILE", help="The archive: .tar, .tar.gz, .tar.zst; - is stdout."
)
@click.option("--tag", metavar="TAG", help="The tag of the working tree in the archive.")
@click.option(
    "--since", multiple=True, metavar="REF", help="Leave out what this version has; may be given several times."
)
@click.option("--recursive", "-r", is_flag=True, help="With what refers to the versions: signatures, attachments.")
@click.option("--compression", type=click.Choice(["none", "gzip", "zstd"]), help="Whatever the name of FILE says.")
@click.option("--force", is_flag=True, help="Replace FILE.")
def export(
    context: Context,
    *,
    references: tuple[str, ...],
    output: str,
    tag: str | None,
    since: tuple[str, ...],
    recursive: bool,
    compression: Compression | None,
    force: bool,
) -> None:
    """Write versions, or without REF the working tree, as an OCI layout into one archive.

    The same content makes the same archive, byte for byte; zstd's after unpacking.
    """
    if references and tag is not None:
        raise UsageError("--tag names the working tree, and versions have tags", hint="bundle tag REF NEW")
    from modelops_bundle.operations import export as operation

    how: operation.Compression = compression or ("none" if output == "-" else operation.compression_of(output))
    with session(context, need_bundle=not references, progress=output != "-") as here:
        made = operation.Export(here, operation.Request(references, tag, since, recursive))
        if output == "-":
            context.out.data(made.chunks(how))
            return
        done = operation.write(made, context.settings.resolve(output), how, force=force)
    context.out.result(done.to_json(), _lines(done))


def _lines(done: Exported) -> list[str]:
    lines = [f"Exported {tag or '(untagged)'} {digest}" for tag, digest in done.versions]
    more = f"; {text.count(done.left_out, 'blob')} left out" if done.left_out else ""
    return [*lines, f"{done.path}: {text.count(done.blobs, 'blob')}, {text.size(done.size)}{more}"]
