"""status: one scan, one comparison, one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelops_bundle.errors import Unavailable
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import Reference
from modelops_bundle.operations import losses, remote_state
from modelops_bundle.operations.local_state import Scan
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.changes import Change, Rename, Side, compare, renames
from modelops_bundle.workspace.survey import no_collections


@dataclass(frozen=True, slots=True)
class Status:
    """How the tree stands to the version it was last synced with and to the remote.

    `online` says whether the remote was asked; `remote` is its digest (None: absent, or not asked); `seen` the
    digest this clone last saw there.
    """

    reference: str
    online: bool
    remote: Digest | None
    seen: Digest | None
    tracked: int
    size: int
    changes: tuple[Change, ...]
    renames: tuple[Rename, ...]
    untracked: tuple[str, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    why_offline: str | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing differs between here, the base and the remote."""
        return not self.changes and not self.gone

    @property
    def gone(self) -> bool:
        """Whether the remote no longer has what this clone saw there."""
        return self.online and self.remote is None and self.seen is not None

    def side(self, *sides: Side) -> list[Change]:
        """The changes made by these sides."""
        return [change for change in self.changes if change.side in sides]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "reference": self.reference,
            "online": self.online,
            "why_offline": self.why_offline,
            "remote": str(self.remote) if self.remote else None,
            "seen": str(self.seen) if self.seen else None,
            "clean": self.clean,
            "gone": self.gone,
            "tracked": self.tracked,
            "size": self.size,
            "changes": [change.to_json() for change in self.changes],
            "renames": [{"from": rename.old, "to": rename.new} for rename in self.renames],
            "untracked": list(self.untracked),
            "ignored": dict(self.ignored),
            "lost": list(self.lost),
        }


def status(session: Session, text: str | None = None, *, untracked: bool = True, ignored: bool = False) -> Status:
    """Compare base, disk and remote.

    Unreachable is not absent: then the remote is taken as last seen, with a notice.

    :raises Unauthorized: and every other answer that cannot be accepted.
    """
    if session.project.is_landing:
        from modelops_bundle.operations.recover import recover_if_free  # all of a pull's machinery

        recover_if_free(session)
    scan = Scan(session, strict=False, untracked=untracked, ignored=ignored)
    reference = session.current(text)
    at = session.project.at()
    remote, why = ask(session, reference)
    mine = scan.finish()
    sighting = session.seen.get(remote_state.key(reference))
    with no_collections():
        if remote is None or remote.digest == at.digest:
            # Nothing there, or what this tree was synced with: then the base is all there is to compare.
            base, here = mine.state.against(at.columns)
            changes = compare(base, here, base)
        else:
            changes = compare(at.snapshot, mine.here, remote.contents.snapshot)
    lost = losses.report(session, remote) if remote is not None and why is None else ()
    return Status(
        str(reference),
        why is None,
        remote.digest if remote is not None and why is None else None,
        sighting.digest if sighting else None,
        mine.count,
        mine.state.size,
        changes,
        renames(changes),
        tuple(sorted(mine.untracked)),
        {path: rule.explained for path, rule in sorted(mine.ignored.items())},
        lost,
        why,
    )


def ask(session: Session, reference: Reference) -> tuple[remote_state.Remote | None, str | None]:
    """What the remote holds, and why it was not asked (None: it was); unreachable falls back to what was last seen."""
    try:
        return remote_state.look_up(session, reference), None
    except Unavailable as error:
        if not (session.options.offline or error.facts.get("unreachable")):
            raise
        if not session.options.offline:
            session.run.notice("offline", f"{error.message}; showing what was last seen")
        sighting = session.seen.get(remote_state.key(reference))
        if sighting is None:
            return None, error.message
        return remote_state.from_sighting(session, reference, sighting), error.message
