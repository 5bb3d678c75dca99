"""Plans as files: `--plan-out` writes one, `apply` runs it."""

from __future__ import annotations

from pathlib import Path

from modelops_bundle.disk.files import read_file, write_file
from modelops_bundle.errors import BundleError, ConfigError, NotFound, Untrusted, WouldOverwrite
from modelops_bundle.model import canonical
from modelops_bundle.model.paths import display
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.operations import policy, pull, push, remote_state
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.pull import PullPlan
from modelops_bundle.plan.push import PushPlan

Plan = PullPlan | PushPlan
_LIMIT = 1 << 30


def to_bytes(plan: Plan) -> bytes:
    """`plan` as its file holds it."""
    return canonical.dumps(plan.to_json())


def save(path: Path, plan: Plan) -> None:
    """Write `plan` to `path`.

    :raises WouldOverwrite: something else than an older plan is there.
    """
    if path.is_symlink() or path.exists():
        try:
            load(path)
        except (BundleError, OSError) as error:
            raise WouldOverwrite(f"{path} is there and is no plan", hint="name another file") from error
    write_file(path, to_bytes(plan))


def load(path: Path) -> Plan:
    """Read a plan.

    :raises NotFound: no such file. :raises ConfigError: not a plan of this version.
    """
    data = read_file(path)
    if data is None:
        raise NotFound(f"there is no plan {path}")
    try:
        value = canonical.loads(data, "the plan", limit=_LIMIT)
        kinds: dict[object, type[PullPlan] | type[PushPlan]] = {"pull": PullPlan, "push": PushPlan}
        return kinds[value.get("plan")].from_json(value)
    except ConfigError:
        raise
    except (BundleError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not a plan this version can read", hint="make it again with --plan-out"
        ) from error


def _check_content(session: Session, reference: Reference, plan: PullPlan) -> None:
    """:raises Untrusted: the plan does something else than bringing the version that was signed."""
    contents = remote_state.require(session, reference.at(None, plan.digest)).contents
    for step in plan.steps:
        place = plan.places.get(step.path)
        if contents.snapshot.get(step.path) != step.after or (place and place != contents.places.get(step.path)):
            raise Untrusted(
                f"the plan does not bring what {plan.digest} holds at {display(step.path)}",
                hint="make it again: bundle pull --plan-out",
                path=step.path,
            )


def apply(session: Session, plan: Plan) -> pull.Result | push.Result:
    """Carry a saved plan out. Apply decides nothing: what changed since makes it refuse."""
    if isinstance(plan, PullPlan):
        # The settings may ask for more than they did when it was made, and a file can say anything.
        reference = parse(plan.reference)
        policy.require(session, reference, plan.digest)
        if any(policy.requirements(session, reference)):
            _check_content(session, reference, plan)
        return pull.apply_pull(session, plan)
    return push.apply_push(session, plan, saved=True)
