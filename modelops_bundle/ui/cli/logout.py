"""The command `bundle logout`."""

from __future__ import annotations

import click

from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("logout", example="bundle logout registry.example.com")
@click.argument("host", metavar="HOST")
def logout(context: Context, host: str) -> None:
    """Forget the login for a registry."""
    from modelops_bundle.operations import login as operation

    with session(context, need_bundle=False) as here:
        done = operation.logout(here, host)
    told = f"Logged out of {done.host} ({', '.join(done.removed)})" if done.removed else f"Not logged in to {done.host}"
    context.out.result(
        {"host": done.host, "removed": list(done.removed), "left": list(done.left)},
        [told, *(f"{place} still has a login for {done.host}" for place in done.left)],
    )
