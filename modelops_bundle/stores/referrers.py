"""Referrers on a registry: its own list, or where it keeps none, the one that clients keep under a tag.

distribution-spec 1.1, "Listing Referrers", "Pushing Manifests with Subject", "Unavailable Referrers API". Nobody guards
the clients' list: decision 0014 says how ours lose nothing of each other.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from modelops_bundle.errors import Corrupt, NotFound, TagMoved, Unavailable, Unsupported
from modelops_bundle.events import Run
from modelops_bundle.model import media, referrers
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import ABSENT, Expected
from modelops_bundle.model.referrers import Entry
from modelops_bundle.net.exchange import Reply
from modelops_bundle.net.retry import interruptible_sleep
from modelops_bundle.stores.listing import pages
from modelops_bundle.stores.repository import Repository

MAX_PAGES = 1000
ROUNDS = 100
"""Looks at a list that others keep changing, before giving up."""
QUIET = 1.0
"""Seconds for which a list must keep an entry after it was written; no writer of ours writes upon an older look."""
_PATIENCE = 8.0
"""The same in requests as slow as the slowest one so far."""
_LONGEST = 30.0


class _Names(Protocol):
    def has(self, what: Descriptor) -> bool: ...

    def resolve(self, name: str, *, data: bool = False) -> Descriptor | None: ...

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Expected) -> None: ...


def ask(repository: Repository, subject: Digest, artifact_type: str | None) -> list[Descriptor] | None:
    """The registry's own list, None when it keeps none.

    :raises Corrupt: a page that is no image index, or pages without end (CVE-2023-33958).
    """
    where = f"the referrers of {subject}"
    first = f"{repository.origin}/v2/{repository.name}/referrers/{subject}"
    if artifact_type is not None:
        first += f"?artifactType={quote(artifact_type, safe='')}"

    def one(url: str) -> Reply | None:
        request = repository.request("GET", url, "referrers", accept=(200, 404, 405, 501), key=str(subject))
        reply = repository.fetch(request, media.MAX_MANIFEST)
        # Web servers have a page for everything: only an image index is an answer (spec: it MUST be one).
        kind = reply.headers.get("content-type", "").partition(";")[0].strip()
        return reply if reply.status == 200 and kind == media.OCI_INDEX else None

    entries: list[Entry] = []
    known = False
    for reply in pages(one, first, repository.below, host=repository.host, what=where, most=MAX_PAGES):
        known = True
        entries += referrers.read_list(reply.body, where)[1]
    # A registry that filtered says so; those that did not, or only some pages, are filtered here.
    return referrers.listed(entries, artifact_type) if known else None


@dataclass(frozen=True, slots=True)
class Pace:
    """How the waiting between looks is done.

    :param clock: monotonic seconds. :param sleep: waits seconds. :param draw: a number from 0 to 1.
    """

    sleep: Callable[[float], None]
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random

    @classmethod
    def of(cls, run: Run) -> Pace:
        """Real time, ended by cancelling `run`."""
        return cls(interruptible_sleep(run))


@dataclass
class _Seen:
    """One look at the list: what the tag stood for, and what that held."""

    what: Descriptor | None
    value: dict[str, Any]
    entries: list[Entry]
    began: float

    @property
    def digests(self) -> set[str]:
        return {str(entry.get("digest")) for entry in self.entries}


@dataclass
class Fallback:
    """The list of one subject that clients keep under the tag `sha256-<hex>`.

    :param where: the repository, for messages.
    """

    store: _Names
    subject: Digest
    where: str
    pace: Pace
    run: Run = field(default_factory=Run)
    _slowest: float = 0.0

    @property
    def tag(self) -> str:
        """Its tag."""
        return referrers.fallback_tag(self.subject)

    def read(self, artifact_type: str | None = None) -> list[Descriptor]:
        """What it lists.

        :raises Corrupt: something else stands under its tag.
        """
        return referrers.listed(self._look().entries, artifact_type)

    def add(self, entry: Descriptor) -> None:
        """List `entry`; returns when it has stayed there for a while.

        :raises Unsupported: the list is full. :raises Corrupt: something else stands under its tag.
        :raises Unavailable: others keep changing it.
        """
        self._settle({str(entry.digest): entry.to_json()}, set())

    def remove(self, digest: Digest) -> None:
        """List `digest` no more. :raises Unavailable: others keep changing the list."""
        self._settle({}, {str(digest)})

    # --- looking and writing

    def _look(self) -> _Seen:
        began = self.pace.clock()
        found = self.store.resolve(self.tag, data=True)
        self._slowest = max(self._slowest, self.pace.clock() - began)
        if found is None:
            return _Seen(None, {}, [], began)
        where = f"{self.where}:{self.tag}"
        if found.media_type != media.OCI_INDEX:
            # Whoever put it there keeps it: rebuilding the list would drop it, and whatever it replaced.
            raise Corrupt(f"{where} should list referrers and is something else", hint=f"bundle inspect {where}")
        return _Seen(found, *referrers.read_list(found.data or b"", where), began)

    def _settle(self, known: dict[str, Entry], gone: set[str]) -> None:
        """Write until the list has every entry of `known`, as well as all seen meanwhile, and none of `gone`."""
        ours = set(known)
        written: float | None = None
        pause = 0.0
        for _ in range(ROUNDS):
            seen = self._look()
            missing = self._missing(seen, known, gone, ours)
            if not missing and not gone & seen.digests:
                if written is None or self.pace.clock() - written >= self._quiet:
                    return
                # Pauses of no rhythm, so that two who overwrite each other do not go on in step.
                pause = min(2 * pause + self._quiet / 16, self._quiet / 2)
                self.pace.sleep(pause * (0.5 + self.pace.draw()))
                continue
            entries = [entry for entry in seen.entries if str(entry.get("digest")) not in gone]
            if self._write(seen, [*entries, *missing], gone, ours):
                written, pause = self.pace.clock(), 0.0
        raise Unavailable(f"others keep changing {self.where}:{self.tag}", hint="run the command again")

    @property
    def _quiet(self) -> float:
        return min(max(QUIET, _PATIENCE * self._slowest), _LONGEST)

    def _missing(self, seen: _Seen, known: dict[str, Entry], gone: set[str], ours: set[str]) -> list[Entry]:
        """What was listed once and is not now; what was deleted meanwhile is forgotten."""
        there = seen.digests
        lost = [digest for digest in known if digest not in there]
        for digest in lost:
            if digest not in ours and not self._exists(known[digest]):
                del known[digest]
        known.update(
            (str(entry["digest"]), entry)
            for entry in seen.entries
            if isinstance(entry.get("digest"), str) and entry["digest"] not in gone
        )
        return [known[digest] for digest in lost if digest in known]

    def _exists(self, entry: Entry) -> bool:
        try:
            return self.store.has(Descriptor.from_json(entry))
        except Corrupt:
            # Of a kind nobody here can ask for: not ours to judge.
            return True

    def _write(self, seen: _Seen, entries: list[Entry], gone: set[str], ours: set[str]) -> bool:
        """Replace what was seen; False when it has to be looked at again."""
        data = referrers.write_list(seen.value, entries)
        if len(data) > media.MAX_MANIFEST:
            raise Unsupported(
                f"the list of referrers of {self.subject} is full: {len(entries)} of them",
                hint="delete some (bundle referrers lists them), or use a registry with a referrers API",
            )
        if self.pace.clock() - seen.began > QUIET / 2:
            # Old enough for somebody to have written and gone: a slow request before this one.
            seen_again = self._look()
            if (seen_again.what and seen_again.what.digest) != (seen.what and seen.what.digest):
                return False
            seen = seen_again
        began = self.pace.clock()
        try:
            self.store.tag(self.tag, Descriptor.of(media.OCI_INDEX, data), data, seen.what or ABSENT)
        except TagMoved:
            return False
        except NotFound as error:
            gone |= self._dead(entries, error, ours)
            return False
        took = self.pace.clock() - began
        self._slowest = max(self._slowest, took)
        if took > QUIET:
            self.run.notice(
                "referrers-slow",
                f"writing the list of referrers took {took:.1f} s: what others attached to {self.subject} in that time may "
                "be missing from it",
            )
        return True

    def _dead(self, entries: list[Entry], error: NotFound, ours: set[str]) -> set[str]:
        """The entries that the registry refuses a list for, because they were deleted (distribution 2.8)."""
        named = set(error.facts.get("blobs") or ()) or {str(entry.get("digest")) for entry in entries}
        dead = {
            str(entry.get("digest"))
            for entry in entries
            if str(entry.get("digest")) in named - ours and not self._exists(entry)
        }
        if not dead:
            raise error
        return dead
