"""The command `bundle attach`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.operations import attach as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import annotations_of, session, source_date_epoch
from modelops_bundle.ui.cli.command import Context, command

if TYPE_CHECKING:
    from modelops_bundle.operations.session import Session

_EXAMPLE = """\
bundle attach :v1 eval.json --type application/vnd.example.evaluation
bundle attach :v1 --sbom sbom.spdx.json
bundle attach :v1 --provenance --sign-key cosign.key"""


@command("attach", example=_EXAMPLE)
@click.argument("reference", metavar="REF")
@click.argument("files", nargs=-1, metavar="[FILE[:MEDIA/TYPE]]...")
@click.option("--type", "artifact_type", metavar="TYPE", help="What it is: a media type.")
@click.option("--sbom", metavar="FILE", help="Attach an SBOM: SPDX or CycloneDX in JSON, whose type is known.")
@click.option("--provenance", is_flag=True, help="Attach where the tree at hand comes from (SLSA).")
@click.option("--sign-key", metavar="FILE", help="The private key to sign the provenance with.")
@click.option("--annotation", multiple=True, metavar="KEY=VALUE", help="An annotation of what is attached.")
def attach(
    context: Context,
    *,
    reference: str,
    files: tuple[str, ...],
    artifact_type: str | None,
    sbom: str | None,
    provenance: bool,
    sign_key: str | None,
    annotation: tuple[str, ...],
) -> None:
    """Attach files to a version: as an artifact of its own, which bundle referrers and other tools find."""
    annotations = annotations_of(annotation)
    if provenance:
        if files or artifact_type or sbom or annotations:
            raise UsageError("--provenance is attached alone", hint="attach the rest with a command of its own")
        done = _provenance(context, reference, sign_key)
    elif sign_key is not None:
        raise UsageError("--sign-key signs a --provenance", hint="bundle sign REF --key FILE signs a version")
    else:
        with session(context, need_bundle=False) as here:
            files, kind = _with_sbom(here, files, artifact_type, sbom)
            done = operation.attach(here, reference, files, kind, annotations)
    if done.changed:
        lines = [f"Attached to {done.subject}", f"{text.count(done.files, 'file')}, {text.size(done.sent_bytes)} sent"]
    else:
        lines = [f"Attached already to {done.subject}"]
    context.out.result(done.to_json(), [*lines, str(done.digest)])


def _with_sbom(
    here: Session, files: tuple[str, ...], artifact_type: str | None, sbom: str | None
) -> tuple[tuple[str, ...], str]:
    """The files and their type, which an SBOM tells."""
    if sbom is None:
        if artifact_type is None:
            raise UsageError("attach what?", hint="--type TYPE says what FILE is; or --sbom FILE, or --provenance")
        return files, artifact_type
    if files or artifact_type:
        raise UsageError("--sbom FILE has its type", hint="attach other files with a command of their own")
    kind = operation.sbom_type(here, sbom)
    return (f"{sbom}:{kind}",), kind


def _provenance(context: Context, reference: str, sign_key: str | None) -> operation.Result:
    from modelops_bundle.operations import sign
    from modelops_bundle.ui.cli import passwords

    key = None
    if sign_key is not None:
        key = sign.load_key(context.settings.resolve(sign_key), passwords.of_key(context))
    with session(context) as here:
        return sign.attach_provenance(here, reference, key, source_date_epoch())
