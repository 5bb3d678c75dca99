"""The command `bundle sign`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.operations import sign as operation
from modelops_bundle.ui.cli import passwords
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("sign", example="bundle sign --generate-key cosign\nbundle sign :v1 --key cosign.key")
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--key", metavar="FILE", help="The private key.")
@click.option("--legacy", is_flag=True, help="In the form that cosign before 3.0 reads.")
@click.option("--generate-key", metavar="PREFIX", help="Make a key pair: PREFIX.key and PREFIX.pub.")
def sign(context: Context, reference: str | None, key: str | None, legacy: bool, generate_key: str | None) -> None:
    """Sign a version with a key, so that bundle and cosign can verify it.

    The key's password is asked for, or taken from COSIGN_PASSWORD.
    """
    if generate_key is not None:
        if reference is not None or key is not None or legacy:
            raise UsageError("--generate-key signs nothing", hint="run the command again to sign")
        _generate(context, generate_key)
        return
    if reference is None or key is None:
        raise UsageError("sign what, with which key?", hint="bundle sign REF --key cosign.key")
    # Outside of the run: the terminal belongs to its progress.
    loaded = operation.load_key(context.settings.resolve(key), passwords.of_key(context))
    with session(context, need_bundle=False) as here:
        done = operation.sign(here, reference, loaded, legacy=legacy)
    told = "Signed" if done.changed else "Signed already:"
    context.out.result(done.to_json(), [f"{told} {done.subject}", f"by {done.key}", str(done.digest)])


def _generate(context: Context, prefix: str) -> None:
    if not prefix or prefix.endswith("/"):
        raise UsageError(f"--generate-key wants the beginning of two file names, not {prefix!r}")
    private, public = operation.generate_key(
        Path(os.path.normpath(context.settings.resolve(prefix))), passwords.of_key(context, new=True)()
    )
    context.out.result(
        {"private": str(private), "public": str(public)},
        [f"Private key: {private}", f"Public key: {public}"],
    )
