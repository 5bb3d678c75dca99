"""referrers: what was attached to a version, and to that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from modelops_bundle.errors import NotFound, Unsupported
from modelops_bundle.model import media, ports
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import Reference
from modelops_bundle.operations.session import Session

MOST = 10_000
"""Manifests that a tree of referrers may have: a registry can make up as many as it likes."""
DEEPEST = 32
"""Levels of it."""


@dataclass(slots=True)
class Referrer:
    """A manifest that refers to another one, and what refers to it where that was asked for."""

    what: Descriptor
    referrers: list[Referrer] = field(default_factory=list)

    @property
    def created(self) -> str | None:
        """When its maker says it was made."""
        return self.what.annotations.get(media.CREATED)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "digest": str(self.what.digest),
            "media_type": self.what.media_type,
            "artifact_type": self.what.artifact_type,
            "size": self.what.size,
            "annotations": dict(self.what.annotations),
            "referrers": [each.to_json() for each in self.referrers],
        }

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Referrer]]:
        """Itself and all below, each with its depth."""
        yield depth, self
        for each in self.referrers:
            yield from each.walk(depth + 1)


def find(session: Session, text: str | None, *, data: bool = False) -> tuple[Reference, Descriptor, ports.Store]:
    """What `text` stands for.

    :param data: bring its manifest as well.
    :raises NotFound: nothing.
    """
    reference = session.reference(text)
    store = session.store(reference)
    found = store.resolve(reference.name or "", data=data)
    if found is None:
        raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is", reference=str(reference))
    return reference, found, store


def able(store: ports.Store, reference: Reference) -> ports.Referrers:
    """The store, knowing referrers. :raises Unsupported: it does not."""
    if not isinstance(store, ports.Referrers):
        raise Unsupported(f"{reference.place} knows nothing of referrers", hint="use a registry or an OCI layout")
    return store


def referrers(
    session: Session, text: str | None, *, artifact_type: str | None = None, recursive: bool = False
) -> tuple[Reference, Digest, list[Referrer]]:
    """What refers to the version `text`, by artifact type and digest; one request each for it and for every list.

    :param artifact_type: only those, and whatever refers to them.
    :raises NotFound: no such version. :raises Unsupported: the store knows nothing of referrers, or of too many.
    """
    reference, found, store = find(session, text)
    there = able(store, reference)
    seen = {found.digest}
    top = _below(there, found.digest, seen, artifact_type)
    level = list(top) if recursive else []
    depth = 1
    while level:
        depth += 1
        if depth > DEEPEST:
            raise Unsupported(f"what refers to {reference} is more than {DEEPEST} levels deep")
        for each in level:
            session.run.check()
            each.referrers = _below(there, each.what.digest, seen, None)
        level = [below for each in level for below in each.referrers]
    return reference, found.digest, top


def _below(there: ports.Referrers, subject: Digest, seen: set[Digest], artifact_type: str | None) -> list[Referrer]:
    """What refers to `subject` and was not met before: a false list may lead in circles."""
    found = [what for what in there.referrers(subject, artifact_type) if what.digest not in seen]
    seen |= {what.digest for what in found}
    if len(seen) - 1 > MOST:  # the subject is one of them
        raise Unsupported(f"there are more than {MOST} referrers", hint="--type shows those of one type")
    return [Referrer(what) for what in sorted(found, key=lambda what: (what.artifact_type or "", str(what.digest)))]
