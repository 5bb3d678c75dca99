"""The command `bundle doctor`."""

from __future__ import annotations

import click

from modelops_bundle.operations import doctor as operation
from modelops_bundle.ui import findings
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("doctor", example="bundle doctor\nbundle doctor --offline")
@click.option("--write", is_flag=True, help="Try pushing to the remotes, too, as `registry check` does.")
def doctor(context: Context, write: bool) -> int:
    """Look at this machine, the bundle here and its remotes, and say what is wrong. Changes nothing.

    The exit code is that of the first failure.
    """
    with session(context, need_bundle=False, configure=False) as here:
        found = operation.examine(here, read_only=not write)
    context.out.result(found.to_json(), findings.lines(found.findings))
    return found.exit_code
