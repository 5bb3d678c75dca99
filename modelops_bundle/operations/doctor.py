"""doctor: whether this machine, this bundle and its remotes are as they should be; changes nothing."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from modelops_bundle import __version__
from modelops_bundle.disk.files import free_bytes
from modelops_bundle.disk.filesystems import kind_of, stamps_every_change
from modelops_bundle.disk.locks import exclusive
from modelops_bundle.errors import ConfigError, Corrupt, DiskError, Locked, NotFound
from modelops_bundle.model import paths
from modelops_bundle.model.ports import Lister
from modelops_bundle.model.reference import is_service_tag
from modelops_bundle.operations.findings import Examination, Finding, info, ok, warn
from modelops_bundle.operations.registry_check import Check
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.config import Remote

LITTLE = 1 << 30
"""Bytes of free space below which a warning is due."""
OLD = 7 * 86400.0
"""Seconds after which no registry knows an upload any more (distribution purges after a week)."""


def examine(session: Session, *, read_only: bool = True, told: Callable[[Finding], None] | None = None) -> Examination:
    """Look at the tool, the caches, the bundle around the working directory, and its remotes."""
    found = Examination(told)
    found.look("tool", _tool)
    found.look("cache", lambda: _cache(session))
    if not session.has_project:
        found.add(Finding("bundle", "skip", "no bundle here or above", "bundle init makes one here"))
        return found
    session.project.surround(*session.around)
    bundle = _Bundle(session)
    for name, step in bundle.steps().items():
        found.look(name, step)
    for remote in _remotes(session, found):
        _remote(session, remote, found, read_only=read_only)
    return found


def _tool() -> Finding:
    told = (
        f"modelops-bundle {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    return ok(told, version=__version__, python=platform.python_version())


def _cache(session: Session) -> Finding:
    folder = session.options.cache
    if folder is None:
        return info("no cache is used")
    if not folder.exists():
        return ok(f"{folder} is not there yet")
    if not os.access(folder, os.W_OK | os.X_OK):
        return warn(
            f"{folder} cannot be written", "nothing is kept for other working trees; look at its owner and mode"
        )
    count, size = _weigh(folder / "blobs")
    return ok(f"{folder} holds {count} blobs, {_gib(size)}", files=count, size=size)


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"


def _weigh(folder: Path) -> tuple[int, int]:
    """Files below `folder`, and their bytes."""
    count = size = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                size += Path(directory, name).lstat().st_size
            except OSError:
                continue
            count += 1
    return count, size


class _Bundle:
    """The steps that look at one bundle's own files."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._project = session.project

    def steps(self) -> dict[str, Callable[[], Finding]]:
        return {
            "bundle": self._root,
            "config": self._config,
            "tracked": self._tracked,
            "base": self._base,
            "leases": self._leases,
            "index": self._index,
            "landing": self._landing,
            "downloads": self._downloads,
            "uploads": self._uploads,
            "lock": self._lock,
            "disk": self._disk,
        }

    def _root(self) -> Finding:
        root = self._project.root
        if not os.access(root, os.W_OK | os.X_OK) or not os.access(self._project.folder, os.W_OK | os.X_OK):
            return warn(f"{root} cannot be written", "status and push work; add and pull do not")
        return ok(str(root))

    def _config(self) -> Finding:
        self._project.own_config().check()
        self._project.config.check()
        return ok(f"{len(self._project.config.flat())} settings")

    def _tracked(self) -> Finding:
        tracked = self._project.tracked()
        if not tracked:
            return info("nothing is tracked", "bundle add PATH")
        wrong = sum(1 for path in tracked if paths.problem(path) is not None)
        if wrong:
            file = self._project.folder / layout.TRACKED
            return warn(f"{wrong} of {len(tracked)} lines are no paths", f"take them out of {file}", wrong=wrong)
        missing = [path for path in tracked if not os.path.lexists(self._project.root / path)]
        if len(missing) == len(tracked):
            return warn(f"all {len(tracked)} tracked paths are gone", "bundle restore brings them back")
        return ok(f"{len(tracked)} paths, {len(missing)} of them gone", tracked=len(tracked), gone=len(missing))

    def _base(self) -> Finding:
        at = self._project.at()
        if at.digest is None:
            return info("never synced", "bundle push or bundle pull")
        return ok(f"synced with {at.reference} ({at.digest.short})", reference=at.reference, digest=str(at.digest))

    def _leases(self) -> Finding:
        damaged = self._session.seen.damaged()
        if damaged:
            return warn(
                f"{len(damaged)} leases cannot be read: {damaged[0]}",
                "remove it; bundle remote seen REF, or bundle pull, makes it anew",
                damaged=[str(path) for path in damaged],
            )
        count = sum(1 for _ in self._session.seen.all())
        return ok(f"{count} references seen", count=count)

    def _index(self) -> Finding:
        path = self._project.folder / layout.INDEX
        if not path.exists():
            return ok("no digest cache yet")
        if not self._session.index.usable():
            return warn("the digest cache cannot be used", "the next command makes it anew: files are hashed again")
        return ok(f"the digest cache is whole, {path.stat().st_size} bytes", size=path.stat().st_size)

    def _landing(self) -> Finding:
        if self._project.is_landing:
            return warn("a pull was killed while it changed the tree", "the next bundle status or pull finishes it")
        return ok("no pull is half done")

    def _downloads(self) -> Finding:
        count, size = _weigh(self._project.parts)
        if count:
            return info(f"{_gib(size)} of unfinished downloads", "the next pull goes on with them", size=size)
        return ok("none is unfinished")

    def _uploads(self) -> Finding:
        folder = self._project.folder / layout.JOURNAL / layout.UPLOADS
        ages = []
        for path in folder.glob("*.json"):
            with suppress(FileNotFoundError):  # a push that is under way ended with it
                ages.append(time.time() - path.lstat().st_mtime)
        old = sum(1 for age in ages if age > OLD)
        if old:
            return info(f"{old} of {len(ages)} unfinished uploads are older than a week", f"remove them: {folder}")
        return info(f"{len(ages)} unfinished", "the next push goes on with them") if ages else ok("none is unfinished")

    def _lock(self) -> Finding:
        try:
            with exclusive(self._project.folder / layout.LOCK, wait=0.0, what=str(self._project.root)):
                return ok("nobody is writing")
        except Locked:
            return info("another command is writing now")

    def _disk(self) -> Finding:
        root = self._project.root
        free = free_bytes(root)
        device = root.stat().st_dev
        kind = kind_of(device) or "file system"
        facts = {"free": free, "kind": kind}
        if free < LITTLE:
            return warn(f"only {_gib(free)} free", "pulls check what they need before the first byte", **facts)
        if not stamps_every_change(device):
            return info(f"{kind} does not stamp every change", "pushes and pulls hash files again", **facts)
        return ok(f"{kind}, {_gib(free)} free", **facts)


def _remotes(session: Session, found: Examination) -> list[Remote]:
    try:
        return list(session.remotes.values())
    except ConfigError:
        found.skip(("remotes",), "the settings cannot be used")
        return []


def _remote(session: Session, remote: Remote, found: Examination, *, read_only: bool) -> None:
    """Look at one remote, each finding under its name."""
    part = Examination()
    reference = remote.default
    if session.options.offline and reference.scheme == "oci":
        found.add(Finding(f"{remote.name}", "skip", f"{reference.host} is not asked: offline"))
        return
    if reference.scheme == "oci":
        Check(session, reference, part, read_only=read_only).run()
    else:
        part.look("store", lambda: _store(session, remote))
    for finding in part.findings:
        found.add(finding.under(remote.name))


def _store(session: Session, remote: Remote) -> Finding:
    """The tags of a local store, and whether what they stand for is there."""
    reference = remote.default
    try:
        store = session.store(reference)
        tags = store.tags() if isinstance(store, Lister) else ()
    except NotFound:
        return ok(f"{reference.place} is not there yet: the first push makes it")
    lost = []
    for tag in tags:
        try:
            store.resolve(tag, data=True)
        except (Corrupt, DiskError, NotFound):
            lost.append(tag)
    if lost:
        raise Corrupt(
            f"{reference.place} lacks the manifests of {', '.join(lost[:10])}",
            hint="push these versions again, from a tree that has them",
            tags=lost,
        )
    return ok(f"{reference.place}: {sum(1 for tag in tags if not is_service_tag(tag))} tags")
