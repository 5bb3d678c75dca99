"""remote: named places to push to and pull from."""

from __future__ import annotations

from modelops_bundle.errors import NotFound, UsageError
from modelops_bundle.model.reference import is_remote_name
from modelops_bundle.operations.session import Session, remote_place
from modelops_bundle.workspace.config import Remote


def list_remotes(session: Session) -> list[Remote]:
    """The remotes, the default one first."""
    default = session.project.config.default_remote
    return sorted(session.remotes.values(), key=lambda remote: (remote.name != default, remote.name))


def set_remote(session: Session, name: str, reference: str, *, new: bool) -> Remote:
    """Create (`new`) or change a remote.

    :raises UsageError: the name is taken or not allowed, or not a reference. :raises NotFound: nothing to change.
    """
    if not is_remote_name(name):
        raise UsageError(f"not a remote name: {name!r}", hint="letters, digits, '_' and '-'")
    if new and name in session.remotes:
        raise UsageError(f"remote {name} exists already", hint=f"bundle remote set {name} REF")
    if not new and name not in session.remotes:
        raise NotFound(f"there is no remote {name}", hint=f"bundle remote add {name} REF")
    parsed = remote_place(session, reference)
    with session.project.locked():
        session.project.edit_config({f"remotes.{name}.url": str(parsed.at()), f"remotes.{name}.tag": parsed.tag})
    return session.project.config.remotes()[name]


def remove_remote(session: Session, name: str) -> None:
    """Forget a remote; what was seen of it stays. :raises NotFound: there is none of that name."""
    if name not in session.remotes:
        raise NotFound(f"there is no remote {name}", hint="bundle remote list")
    with session.project.locked():
        session.project.edit_config({f"remotes.{name}": None})
