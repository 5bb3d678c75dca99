"""What was learnt of registries on the way: by host, for a week, shared by all working trees of a user.

Nothing depends on it being right: a wrong note costs a request, or the gain it would have brought.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from modelops_bundle.disk.files import read_file, write_file
from modelops_bundle.errors import Corrupt, DiskError
from modelops_bundle.model import canonical
from modelops_bundle.stores.registries import ORDINARY, Profile, named, profile_of

FILE = "registries.json"
KEPT = 7 * 86400.0
"""Seconds after which a fact is looked for anew: registries are upgraded."""
_LIMIT = 1 << 20
_MOST = 1000

Fact = Literal[
    "kind", "single_post", "streams", "parts", "body", "ranges", "mounts", "referrers", "catalog", "untags", "deletes"
]
"""The name of a profile; whether a POST with the content is enough; whether a PATCH takes a whole blob, or uploads go in
parts; bytes of a request that were too many; and abilities that distribution-spec leaves open."""
Value = str | int | bool
Notes = dict[str, dict[str, tuple[Value, float]]]


class Learned:
    """Facts by host. Safe between threads; `save` makes them last.

    :param path: the file; None keeps them as long as this object lives.
    :param now: seconds since the epoch.
    """

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        self._known: Notes | None = None
        self._fresh: Notes = {}

    def get(self, host: str, fact: Fact) -> Value | None:
        """What is known, None when nothing is."""
        return self.all(host).get(fact)

    def all(self, host: str) -> Mapping[str, Value]:
        """Everything that is known of `host`."""
        with self._lock:
            if self._known is None:
                self._known = self._read()
            found = {**self._known.get(host, {}), **self._fresh.get(host, {})}
        now = self._now()
        return {fact: value for fact, (value, at) in found.items() if 0 <= now - at < KEPT}

    def note(self, host: str, fact: Fact, value: Value) -> None:
        """Remember `value`."""
        if self.get(host, fact) != value:
            with self._lock:
                self._fresh.setdefault(host, {})[fact] = (value, self._now())

    def profile(self, host: str, session: str = "") -> Profile:
        """What `host` is, by its name, its upload sessions, or what it was seen to be."""
        found = profile_of(host, session)
        if found is not ORDINARY:
            if session and profile_of(host) is ORDINARY:
                self.note(host, "kind", found.name)
            return found
        return named(str(self.get(host, "kind"))) or ORDINARY

    def save(self) -> None:
        """Add what is new to the file. A file that cannot be written costs only the saving."""
        with self._lock:
            if self._path is None or not self._fresh:
                return
            now = self._now()
            notes = self._read()
            for host, facts in self._fresh.items():
                notes.setdefault(host, {}).update(facts)
            kept = {
                host: {fact: list(note) for fact, note in facts.items() if 0 <= now - note[1] < KEPT}
                for host, facts in list(notes.items())[-_MOST:]
            }
            with suppress(DiskError):
                write_file(
                    self._path, canonical.dumps({"hosts": {host: facts for host, facts in kept.items() if facts}})
                )
            self._known, self._fresh = notes, {}

    def _read(self) -> Notes:
        """The file's content; empty where it cannot be used."""
        if self._path is None:
            return {}
        try:
            data = read_file(self._path)
            hosts = {} if data is None else canonical.loads(data, str(self._path), limit=_LIMIT).get("hosts")
        except (Corrupt, DiskError):
            return {}
        if not isinstance(hosts, dict):
            return {}
        return {host: dict(_facts(facts)) for host, facts in hosts.items() if isinstance(facts, dict)}


def _facts(facts: Mapping[str, Any]) -> list[tuple[str, tuple[Value, float]]]:
    known = get_args(Fact)
    return [
        (fact, (note[0], float(note[1])))
        for fact, note in facts.items()
        if fact in known
        and isinstance(note, list)
        and len(note) == 2
        and isinstance(note[0], (str, int, bool))
        and isinstance(note[1], (int, float))
    ]
