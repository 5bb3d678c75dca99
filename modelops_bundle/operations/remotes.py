"""remote: named places to push to and pull from."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

from modelops_bundle.errors import NotFound, UsageError
from modelops_bundle.model.reference import is_remote_name
from modelops_bundle.net.options import HostOptions
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.session import Session, remote_place
from modelops_bundle.workspace.config import DEFAULT_REMOTE, Remote
from modelops_bundle.workspace.project import Project

_NAMES = tuple(field.name for field in fields(HostOptions))


def list_remotes(session: Session) -> list[Remote]:
    """The remotes, the default one first."""
    default = session.project.config.default_remote
    return sorted(session.remotes.values(), key=lambda remote: (remote.name != default, remote.name))


def settings(options: Options, root: Path) -> dict[str, bool | str]:
    """What the caller said of its hosts, as the config file of the bundle at `root` holds it, by name."""
    return {
        name: _portable(value, root) if isinstance(value, str) else value
        for name, value in options.given.said().items()
    }


def _portable(path: str, root: Path) -> str:
    """`path` so that it stays right when the bundle moves with its files."""
    absolute = Path(os.path.normpath(root / path))
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(absolute)


def remember(project: Project, name: str, options: Options) -> dict[str, bool | str]:
    """Store what the caller said of its hosts with the remote `name`, when that is a registry; what was stored."""
    remote = project.config.remotes().get(name)
    said = settings(options, project.root)
    if not said or remote is None or remote.reference.scheme != "oci":
        return {}
    with project.locked():
        project.edit_config(_changes(name, said))
    return said


def stored(options: Options, project: Project) -> dict[str, bool | str]:
    """What `remember` stored of what the caller said, when a bundle was made."""
    remote = project.own_config().remotes()[DEFAULT_REMOTE]
    return remote.options.said() if options.given.said() else {}


def _changes(name: str, said: dict[str, bool | str]) -> dict[str, object]:
    changes: dict[str, object] = {f"remotes.{name}.{key}": value for key, value in said.items()}
    # The key of the certificate before would not fit; and these are for TLS.
    replaced = ["client_key"] if "client_cert" in said else []
    replaced += ["plain_http"] if said.keys() & {"insecure", "ca_file", "client_cert"} else []
    replaced += ["insecure"] if "plain_http" in said else []
    for key in replaced:
        changes.setdefault(f"remotes.{name}.{key}", None)
    return changes


def set_remote(session: Session, name: str, reference: str, *, new: bool) -> Remote:
    """Create (`new`) or change a remote, with what the caller says of its host.

    What was remembered of another host is forgotten: nobody meant it for this one.

    :raises UsageError: the name is taken or not allowed, or not a reference. :raises NotFound: nothing to change.
    """
    if not is_remote_name(name):
        raise UsageError(f"not a remote name: {name!r}", hint="letters, digits, '_' and '-'")
    if new and name in session.remotes:
        raise UsageError(f"remote {name} exists already", hint=f"bundle remote set {name} REF")
    if not new and name not in session.remotes:
        raise NotFound(f"there is no remote {name}", hint=f"bundle remote add {name} REF")
    parsed = remote_place(session, reference)
    changes: dict[str, object] = {f"remotes.{name}.url": str(parsed.at()), f"remotes.{name}.tag": parsed.tag}
    before = session.remotes.get(name)
    if before is not None and (before.reference.scheme, before.reference.host) != (parsed.scheme, parsed.host):
        changes |= dict.fromkeys((f"remotes.{name}.{key}" for key in _NAMES), None)
    if parsed.scheme == "oci":
        changes |= _changes(name, settings(session.options, session.project.root))
    with session.project.locked():
        session.project.edit_config(changes)
    return session.project.config.remotes()[name]


def remove_remote(session: Session, name: str) -> None:
    """Forget a remote; what was seen of it stays. :raises NotFound: there is none of that name."""
    if name not in session.remotes:
        raise NotFound(f"there is no remote {name}", hint="bundle remote list")
    with session.project.locked():
        session.project.edit_config({f"remotes.{name}": None})
