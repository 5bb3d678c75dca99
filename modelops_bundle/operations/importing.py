"""import: what an archive holds into a registry, an OCI layout, a new directory, or the tree here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import DiskFull, NotFound, UsageError, WouldOverwrite
from modelops_bundle.model.ports import Lister
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.operations import cp, init, pull, remote_state
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.pull import PullPlan
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.project import At, Project

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Planned:
    """An import into a tree, decided: the bundle at `root`, which may have been made for it, and what is to change."""

    root: Path
    inside: Session
    plan: PullPlan


def archive_reference(session: Session, text: str) -> Reference:
    """The archive that `text` names: FILE, or FILE:TAG.

    :raises UsageError: it names something else.
    """
    plain = text if text.startswith(("/", "./", "../", "tar:")) else f"./{text}"
    reference = parse(plain)
    if reference.scheme == "layout":
        # A file of any name may be one.
        reference = parse(f"tar:{plain}")
    if reference.scheme != "tar":
        raise UsageError(f"{text} is no file", hint="bundle import FILE [REF or DIR]")
    place = os.path.normpath(session.cwd / reference.place)
    return Reference("tar", place, reference.tag, reference.digest, reference.prefix)


@contextmanager
def from_stream(stream: BinaryIO, scratch: Path) -> Iterator[str]:
    """The bytes of a stream as a file without a name, for as long as it is needed; how `import_` is told of it.

    :raises DiskFull: there is no room for it.
    """
    spool = Spool(scratch)
    try:
        while data := stream.read(_PIECE):
            spool.write(data)
        if not spool.is_whole:
            raise DiskFull(f"there is no room for the archive in {scratch}", hint="save it to a file elsewhere first")
        yield f"/dev/fd/{spool.fileno()}"
    finally:
        spool.close()


def copies(session: Session, archive: Reference, destination: str, *, force: bool, dry_run: bool) -> cp.Result:
    """Bring everything in the archive, or the one tag that is named, to a registry or an OCI layout.

    :raises TagMoved: a tag there stands for something else. :raises NotFound: the archive leaves out what is not there.
    """
    tags = None if archive.tag or archive.digest else "*"
    return cp.cp(session, cp.Request(str(archive), destination, tags, recursive=True, force=force, dry_run=dry_run))


def look(session: Session, archive: Reference) -> remote_state.Remote:
    """The version of the archive that `into_tree` would bring, read and checked."""
    return remote_state.require(session, _one_version(session, archive))


def into_tree(session: Session, archive: Reference, directory: str | None) -> Planned:
    """Decide what bringing a version of the archive into a tree changes: that of the bundle here, or a new one.

    :param directory: made a bundle of its own when it is none yet.
    :raises WouldOverwrite: it holds something else. :raises UsageError: the archive has several tags, and none is named.
    """
    source = _one_version(session, archive)
    inside = session if directory is None else _inside(session, directory, source)
    return Planned(inside.project.root, inside, pull.make_plan(inside, str(source)))


def forget_source(planned: Planned) -> None:
    """Let the tree stand where no reference is: the archive came from a pipe, and is gone."""
    project = planned.inside.project
    with project.locked():
        at = project.at()
        project.write_at(At(None, at.digest, at.snapshot, at.recipe))


def _one_version(session: Session, archive: Reference) -> Reference:
    if archive.tag is not None or archive.digest is not None or archive.prefix is not None:
        return session.reference(str(archive))
    store = session.store(archive)
    tags = store.tags() if isinstance(store, Lister) else ()
    if len(tags) == 1:
        return archive.at(tags[0])
    if not tags:
        raise NotFound(f"{archive.place} names no version", hint="bundle import FILE@sha256:…")
    raise UsageError(f"{archive.place} holds {', '.join(tags[:10])}", hint="bundle import FILE:TAG brings one of them")


def _inside(session: Session, directory: str, source: Reference) -> Session:
    """The bundle in `directory`, made once it is clear that there is something to put into it."""
    outside = Session(None, session.run, session.options, cwd=session.cwd, around=session.around)
    found = remote_state.require(outside, source)
    root = Path(os.path.normpath(session.cwd / directory))
    if not (root / layout.FOLDER / layout.VERSION).is_file():
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise WouldOverwrite(f"{root} exists and is not empty", hint="import into another directory")
        init.init(outside, root, None)
    project = Project(root)
    project.surround(*session.around)
    inside = Session(project, session.run, session.options, cwd=root, around=session.around)
    inside.parsed.update(outside.parsed)
    inside.fresh[remote_state.key(source)] = found.sighting
    return inside
