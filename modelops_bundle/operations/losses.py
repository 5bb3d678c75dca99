"""Noticing that somebody who had not seen our push overwrote it (DESIGN §6)."""

from __future__ import annotations

from modelops_bundle.model.paths import display
from modelops_bundle.operations.remote_state import Remote, key
from modelops_bundle.operations.session import Session


def lost_paths(session: Session, remote: Remote) -> tuple[str, ...]:
    """Paths of ours that are back at their value from before our push, under a tag that moved since."""
    if session.project.at().digest == remote.digest:
        return ()
    pushed = session.seen.pushed(key(remote.reference))
    if pushed is None or pushed.digest == remote.digest:
        return ()
    from modelops_bundle.plan import changes

    return changes.lost(pushed.changes, remote.contents.snapshot)


def report(session: Session, remote: Remote) -> tuple[str, ...]:
    """Tell the user about lost paths, with the command that brings their content back."""
    lost = lost_paths(session, remote)
    if lost:
        pushed = session.seen.pushed(key(remote.reference))
        digest = pushed.digest if pushed else remote.digest
        shown = " ".join(display(path) for path in lost[:10]) + (" …" if len(lost) > 10 else "")
        session.run.notice(
            "push-lost",
            f"changes that you pushed to {remote.reference} are undone there, overwritten or reverted: {shown} "
            f"(to bring them back: bundle pull, bundle restore --source @{digest} {shown}, bundle push)",
        )
    return lost
