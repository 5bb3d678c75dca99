"""The command `bundle apply`."""

from __future__ import annotations

import click

from modelops_bundle.operations import plans
from modelops_bundle.operations.push import Result as Pushed
from modelops_bundle.plan.push import PushPlan, drops_most
from modelops_bundle.ui.cli import pull, push
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("apply", example="bundle push --plan-out release.plan\nbundle apply release.plan")
@click.argument("plan", metavar="PLAN")
def apply(context: Context, plan: str) -> None:
    """Carry out a plan that push or pull saved with --plan-out.

    What changed since then, here or there, makes it refuse.
    """
    loaded = plans.load(context.settings.resolve(plan))
    if isinstance(loaded, PushPlan):
        loaded.check()
        if drops_most(loaded.base, loaded.snapshot):
            context.out.confirm("apply a plan that drops most of what the remote holds?", push.plan_lines(loaded))
    elif loaded.discards:
        context.out.confirm("apply a plan that discards local work?", pull.plan_lines(loaded))
    with session(context) as here:
        done = plans.apply(here, loaded)
    lines = push.result_lines(done) if isinstance(done, Pushed) else pull.result_lines(done)
    context.out.result(done.to_json(), lines)
