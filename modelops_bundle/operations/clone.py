"""clone: a new directory holding a reference, tracking it."""

from __future__ import annotations

import os
from pathlib import Path

from modelops_bundle.errors import NotFound, WouldOverwrite
from modelops_bundle.model.reference import Reference
from modelops_bundle.operations import init, policy, pull, remote_state, remotes
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import ensured
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.config import DEFAULT_REMOTE
from modelops_bundle.workspace.project import Project


def clone(session: Session, text: str, directory: str | None = None) -> tuple[Path, pull.Result]:
    """Make `directory` (by default named after the repository) a bundle holding what `text` names.

    A clone that was killed goes on when it is run again.

    :raises NotFound: the reference is absent; nothing is made then. :raises WouldOverwrite: the directory has
        something else in it.
    """
    source = _source(session, text)
    outside = Session(None, session.run, session.options, cwd=session.cwd, around=session.around)
    root = Path(os.path.normpath(session.cwd / (directory or _directory_name(source))))
    outside.keep_in = root
    found = remote_state.look_up(outside, source)
    if found is None:
        raise NotFound(f"{source} does not exist", hint="bundle tags lists what there is", reference=str(source))
    policy.require(outside, source, found.digest, DEFAULT_REMOTE)
    inside = _prepare(session, root, source)
    # Again where a killed clone goes on: it may have come before this.
    remotes.remember(inside.project, DEFAULT_REMOTE, session.options)
    inside.parsed.update(outside.parsed)
    inside.trusted.update(outside.trusted)
    inside.spooled.update(outside.spooled)
    inside.read[found.digest] = inside.fresh[remote_state.key(source)] = found.sighting
    plan = pull.make_plan(inside, str(source))
    return root, pull.apply_pull(inside, plan)


def _source(session: Session, text: str) -> Reference:
    """The reference to clone; the directory of another bundle stands for its remote."""
    reference = session.reference(text)
    if reference.scheme == "layout" and (Path(reference.place) / layout.FOLDER / layout.VERSION).is_file():
        other = Session(Project(Path(reference.place)), session.run, session.options, cwd=session.cwd)
        named = other.reference(None)
        if named.scheme == "layout":
            named = Reference("layout", str(other.project.root / named.place), named.tag, named.digest)
        # A tag that was written (DIR:TAG) wins over the other bundle's default.
        written = text.rpartition(":")[2] if text.endswith(f":{reference.tag}") else None
        return named.at(written) if written else named
    return reference


def _directory_name(source: Reference) -> str:
    place = source.place.removesuffix(f"/{layout.FOLDER}/{layout.STORE}")
    return place.rstrip("/").rpartition("/")[2]


def _prepare(session: Session, root: Path, source: Reference) -> Session:
    if (root / layout.FOLDER / layout.VERSION).is_file():
        inside = _inside(session, root)
        at = inside.project.at()
        if inside.remote_of(source) is None or (at.digest is not None and at.reference != remote_state.key(source)):
            raise WouldOverwrite(f"{root} is another bundle already", hint="clone into another directory")
        return inside
    if os.path.lexists(root / ensured.FOLDER / ensured.FILE):
        raise WouldOverwrite(f"{root} is a directory of 'bundle ensure'", hint="clone into another directory")
    if root.exists() and (not root.is_dir() or (any(root.iterdir()) and not (root / layout.FOLDER).is_dir())):
        raise WouldOverwrite(f"{root} exists and is not empty", hint="clone into another directory")
    made = init.init(session, root, str(source.at(source.tag)))
    return _inside(session, made.root)


def _inside(session: Session, root: Path) -> Session:
    project = Project(root)
    project.surround(*session.around)
    return Session(project, session.run, session.options, cwd=root)
