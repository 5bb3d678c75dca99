"""init: make a directory a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelops_bundle.model.reference import parse
from modelops_bundle.operations import remote_state, remotes
from modelops_bundle.operations.session import Session, remote_place
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.config import DEFAULT_REMOTE, DEFAULT_TAG
from modelops_bundle.workspace.project import Project


@dataclass(frozen=True, slots=True)
class Result:
    """Where the bundle is, its remote, the digest it adopted as seen, and what was remembered of the remote's host."""

    root: Path
    remote: str
    adopted: str | None = None
    settings: Mapping[str, bool | str] = field(default_factory=dict)


def init(session: Session, root: Path, reference: str | None, *, adopt: bool = False) -> Result:
    """Make `root` a bundle.

    :param reference: the remote; None is the OCI layout inside `.modelops-bundle`.
    :param adopt: take the remote's present version as seen, so that a push may replace it.
    :raises AlreadyABundle: `root` is one or is inside one. :raises UsageError: not a reference.
    """
    place = parse(layout.EMBEDDED) if reference is None else remote_place(session, reference)
    found = None
    if adopt and reference is not None:
        # Asked before anything is made: a remote that cannot answer leaves nothing behind for the next try.
        target = place if place.tag is not None else place.at(DEFAULT_TAG)
        asking = Session(None, session.run, session.options, cwd=session.cwd, around=session.around)
        asking.store(target, create=True)
        found = remote_state.look_up(asking, target)
    project = Project.create(root, str(place.at()), place.tag)
    settings = remotes.remember(project, DEFAULT_REMOTE, session.options)
    if found is not None:
        with project.locked():
            Session(project, session.run, session.options, cwd=root).seen.put(found.sighting)
    return Result(root, str(place.at()), str(found.digest) if found is not None else None, settings)


def see(session: Session, reference: str | None) -> str | None:
    """Record what `reference` stands for now as seen by this clone, downloading no file.

    :returns: its digest, None when it is absent (a first push may create it).
    """
    target = session.reference(reference)
    remote = remote_state.fetch(session, target)
    if remote is None:
        return None
    with session.project.locked():
        session.seen.put(remote.sighting)
    return str(remote.digest)
