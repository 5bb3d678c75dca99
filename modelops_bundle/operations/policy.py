"""What the settings ask of versions before anything of them lands: that certain keys signed them.

Every setting that speaks of a place must be content. Whatever stops the look for signatures stops the operation.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import Reference
from modelops_bundle.workspace.config import Config

if TYPE_CHECKING:
    from modelops_bundle.operations.session import Session


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of `keys` has to have signed what comes from a place. :param setting: the key that says so."""

    setting: str
    keys: tuple[Path, ...]


def require(session: Session, reference: Reference, digest: Digest, remote: str | None = None) -> None:
    """Return when the version `digest` at the place of `reference` has the signatures that the settings ask for.

    Without such settings nothing is read or asked. What was found once holds for the session.

    :param remote: a remote that this place is about to become.
    :raises Untrusted: a signature is missing. :raises ConfigError: a key cannot be used.
    :raises Unsupported: the place keeps no signatures, or `cryptography` is not installed.
    """
    wanted = tuple(dict.fromkeys(requirements(session, reference, remote)))
    if not wanted or (digest, wanted) in session.trusted:
        return
    from modelops_bundle.operations import trust

    store = session.store(reference)
    for each in wanted:
        keys = [trust.key_of(path) for path in each.keys]
        verdicts = []
        for verdict in trust.judge(session, reference, digest, store, keys):
            verdicts.append(verdict)
            if verdict.reason is None:
                break
        names = tuple(key.name for key in keys)
        trust.Report(str(reference), digest, names, tuple(verdicts)).check(each.setting)
    session.trusted.add((digest, wanted))


def requirements(session: Session, reference: Reference, remote: str | None = None) -> Iterator[Requirement]:
    """What is asked of versions at the place of `reference`: by its remotes, by the bundle's `trust`, by the user's own.

    A bundle's file adds to what the user's asks for, and takes nothing away.
    """
    users = Config({}).layered(*session.around)
    if session.has_project:
        config, root = session.project.config, session.project.root
        names = [name for name, known in session.remotes.items() if _same(known.reference, reference, root)]
    else:
        config, root, names = users, session.cwd, []
    for name in dict.fromkeys([*names, *([remote] if remote else [])]):
        for each in (config, users):
            yield from _requirement(f"remotes.{name}.require_signature", each.required_keys(name), root)
    if reference.scheme == "oci":
        for each in (config, users):
            yield from _of_place(each.trust(), reference.place, root)


def _of_place(trust: dict[str, list[str]], place: str, root: Path) -> Iterator[Requirement]:
    """The requirement of the longest prefix; one without keys takes its part of the place out."""
    spoken = _spelled(place)
    known = [prefix for prefix in trust if f"{spoken}/".startswith(f"{_spelled(prefix)}/")]
    if known:
        longest = max(known, key=len)
        yield from _requirement(f'trust."{longest}"', trust[longest], root)


def _spelled(place: str) -> str:
    """One spelling of a place: the host in lower case, without the port that is HTTPS's anyway."""
    host, slash, path = place.partition("/")
    host = host.lower().removesuffix(":443")
    if host.startswith("["):
        address, _, port = host[1:].partition("]")
        with suppress(ValueError):
            host = f"[{ipaddress.ip_address(address).compressed}]{port}"
    return f"{host}{slash}{path}"


def _requirement(setting: str, keys: list[str], root: Path) -> Iterator[Requirement]:
    if keys:
        yield Requirement(setting, tuple(Path(os.path.normpath(root / key)) for key in keys))


def _same(one: Reference, other: Reference, root: Path) -> bool:
    if one.scheme != other.scheme:
        return False
    if one.scheme != "oci":
        return os.path.realpath(root / one.place) == os.path.realpath(root / other.place)
    return _spelled(one.place) == _spelled(other.place)
