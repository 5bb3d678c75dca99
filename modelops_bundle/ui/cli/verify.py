"""The command `bundle verify`."""

from __future__ import annotations

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.operations import verify as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command(
    "verify",
    example="bundle verify\nbundle verify --deep\nbundle verify :v1 --deep\nbundle verify model.tar\n"
    "bundle verify :v1 --signature --key cosign.pub",
)
@click.argument("target", required=False, metavar="[DIR or REF]")
@click.option("--deep", is_flag=True, help="Read every byte again, whatever is known of it.")
@click.option("--against", metavar="REF", help="The version that DIR should hold.")
@click.option("--repair", is_flag=True, help="Bring what rotted or is gone in the tree anew; edits stay.")
@click.option("--signature", is_flag=True, help="Verify the signatures of a version instead.")
@click.option(
    "--key", "keys", multiple=True, metavar="FILE", help="With --signature: a public key that may have signed."
)
@click.option("--identity", metavar="NAME", help="With --signature: who may have signed without a key.")
@click.option("--issuer", metavar="URL", help="With --identity: where they logged in.")
@click.option("--trusted-root", metavar="FILE", help="With --identity: sigstore's trusted root, for work offline.")
def verify(
    context: Context,
    *,
    target: str | None,
    deep: bool,
    against: str | None,
    repair: bool,
    signature: bool,
    keys: tuple[str, ...],
    identity: str | None,
    issuer: str | None,
    trusted_root: str | None,
) -> None:
    """Say whether the tree here, a directory, or what a registry, layout or archive stores is what it should be.

    Exit 9 when bytes are damaged, 5 when files of a tree were edited, are missing or too many.
    """
    if signature:
        if deep or against or repair:
            raise UsageError("--signature looks at signatures only", hint="bundle verify REF --deep looks at bytes")
        from modelops_bundle.ui.cli import signatures

        signatures.verify(context, target, keys, identity, issuer, trusted_root)
        return
    if keys or identity or issuer or trusted_root:
        raise UsageError("whose signature it is matters with --signature only", hint="bundle verify REF --signature")
    with session(context, need_bundle=target is None and against is None) as here:
        report = operation.verify(here, target, deep=deep, against=against, repair=repair)
    report.check()
    noun = "blob" if report.stored else "file"
    how = "" if report.deep else " (bytes not read again: --deep)"
    lines = [f"{report.what}: {text.count(report.files, noun)} verified ({text.size(report.size)}){how}"]
    context.out.result(report.to_json(), lines)
