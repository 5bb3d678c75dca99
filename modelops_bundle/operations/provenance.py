"""Provenance: where a version comes from, as an in-toto statement with a SLSA predicate (slsa.dev/spec/v1.0/provenance).

Only what is the same for everybody who makes it of the same tree: no times (but `SOURCE_DATE_EPOCH`), hosts or users.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from modelops_bundle import __version__
from modelops_bundle.disk.files import read_file
from modelops_bundle.errors import UsageError
from modelops_bundle.model import signatures
from modelops_bundle.model.digest import Digest
from modelops_bundle.net import processes
from modelops_bundle.operations.session import Session

PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://bundle.modelops.dev/push/v1"
"""Names what the parameters mean: docs/guides/trust.md. Nothing is fetched from there."""
BUILDER = "pkg:pypi/modelops-bundle"
LOCK = "bundle.lock"
TITLE = "provenance.json"
_PATIENCE = 60.0
"""Seconds for git to answer."""


def statement(session: Session, subject: Digest, epoch: int | None = None) -> bytes:
    """The statement about the version `subject`, which the working tree has to be at.

    :param epoch: when it was made, in seconds since 1970; None leaves it out.
    :raises NotABundle: there is no tree. :raises UsageError: it is at another version.
    """
    at = session.project.at()
    if at.digest != subject:
        raise UsageError(
            f"this tree is not at {subject}: what can be said of it here would be about another version",
            hint="push it, or pull it, and run the command again",
            at=str(at.digest) if at.digest else None,
        )
    found = _git(session)
    depends = [_lock(session.project.root), _commit(found)]
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"git": found} if found else {},
        "resolvedDependencies": [each for each in depends if each],
    }
    details: dict[str, Any] = {"builder": {"id": BUILDER, "version": {"modelops-bundle": __version__}}}
    if epoch is not None:
        details["metadata"] = {"finishedOn": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))}
    predicate = {"buildDefinition": definition, "runDetails": details}
    # in-toto lets the name out; sigstore's library does not, and the place is not the same for everybody.
    return signatures.statement(subject, PREDICATE, predicate, name=str(subject))


def _lock(root: Path) -> dict[str, Any] | None:
    """The list of what was fetched, where there is one."""
    path = root / LOCK
    data = read_file(path) if path.is_file() and not path.is_symlink() else None
    return None if data is None else {"name": LOCK, "digest": {"sha256": Digest.of(data).hex}}


def _commit(found: Mapping[str, Any]) -> dict[str, Any] | None:
    if not found:
        return None
    value: dict[str, Any] = {"name": "git", "digest": {"gitCommit": found["commit"]}}
    return value | ({"uri": f"git+{found['remote']}"} if "remote" in found else {})


def _git(session: Session) -> dict[str, Any]:
    """What git says of the tree: its commit, whether tracked files differ from it, and where it was cloned from."""
    commit = _ask(session, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not commit:
        return {}
    changes = _ask(session, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    remote = public_address(_ask(session, "config", "--get", "remote.origin.url") or "")
    found: dict[str, Any] = {"commit": commit}
    found |= {"dirty": changes != ""} if changes is not None else {}
    return found | ({"remote": remote} if remote else {})


def _ask(session: Session, *words: str) -> str | None:
    """What git answers; None where there is no answer."""
    around = dict(session.options.helper_environment)
    program = processes.find("git", around.get("PATH", ""))
    if program is None:
        return None
    # A hook's own repository is not the tree's; and nothing that its settings name is run.
    around = {name: value for name, value in around.items() if not name.startswith("GIT_")}
    safe = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    arguments = ("-C", str(session.project.root), *safe, *words)
    try:
        ended = processes.run(program, arguments, b"", around, timeout=_PATIENCE, check=session.run.check)
    except (OSError, processes.Hung, processes.TooMuch):
        return None
    return ended.out.decode("utf-8", "replace").strip() if ended.code == 0 else None


def public_address(url: str) -> str | None:
    """Where a repository is, as a URL without user, password and query; None for places on this machine."""
    if "://" not in url:
        host, colon, path = url.rpartition("@")[2].partition(":")
        # `ext::sh -c …` is a program, not a place.
        is_remote = bool(colon and host and path) and "/" not in host and not path.startswith(":")
        return f"ssh://{host}/{path.lstrip('/')}" if is_remote else None
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https", "ssh", "git") or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return urlunsplit((parts.scheme, f"{host}{port}", parts.path, "", ""))
