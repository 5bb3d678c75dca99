"""The tags of a push: which it moves, and what the user says they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelops_bundle.errors import Corrupt, Unsupported, UsageError
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Lister
from modelops_bundle.model.reference import Reference, check_tag, is_service_tag, parse
from modelops_bundle.operations.session import Session

if TYPE_CHECKING:
    from modelops_bundle.plan.push import TagMove
    from modelops_bundle.plan.semver import Part


def expected(text: str | None) -> Digest | None:
    """The version that the user says a tag stands for. :raises UsageError: no whole digest."""
    if text is None:
        return None
    try:
        return Digest.parse(text)
    except Corrupt as error:
        raise UsageError(f"--expect takes a whole digest, not {text!r}", hint="sha256: and 64 hex digits") from error


def tags_of(
    session: Session, reference: Reference, text: str | None, words: Sequence[str], part: Part | None
) -> list[str]:
    """The tags that a push moves, the one of a bump first.

    :param text: the reference as it was written. :param words: further tags. :param part: what a bump raises.
    :raises UsageError: one of a form that is ours. :raises Unsupported: a bump where tags cannot be listed.
    """
    written = session.written_tag(text) if text is not None else None
    tags = [check_tag(tag) for tag in ([written] if written else []) + list(words)]
    if part:
        store = session.store(reference, create=True)
        if not isinstance(store, Lister):
            raise Unsupported("this store cannot list tags, so there is no next release", hint="push --tag VERSION")
        from modelops_bundle.plan import semver

        tags.insert(0, semver.bump((tag for tag in store.tags() if not is_service_tag(tag)), part))
    if not tags:
        tags.append(reference.tag or session.project.config.default_tag)
    reserved = [tag for tag in tags if is_service_tag(tag)]
    if reserved:
        raise UsageError(f"the tag {reserved[0]} has a form that this tool keeps for itself")
    return list(dict.fromkeys(tags))


def strays_from(session: Session, reference: Reference, move: TagMove) -> str | None:
    """The version this tree was pulled from, when a push that names no tag is about to replace another one."""
    if move.found is None or move.standing == "adopted":
        return None
    at = session.project.at().reference
    history = session.project.history()
    if at is None or not history or history[-1].get("verb") != "pull":
        return None
    # Another place is another matter: bringing work from there to the default remote is what remotes are for.
    known = parse(at)
    return at if str(known.at()) == str(reference.at()) and known.tag != move.tag else None
