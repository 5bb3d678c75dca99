"""Progress as JSON lines (`--progress json`): one object per event. docs/reference/events.md is the schema."""

from __future__ import annotations

import json
import threading
from typing import Any, TextIO

from modelops_bundle.events import Advanced, Done, Event, Finished, ItemStarted, Notice, Requested, Retrying, Started
from modelops_bundle.net.redact import redact

SCHEMA = 1
"""Raised when a field changes its meaning or goes away; new fields and events may appear under the same number."""

_FIELDS: dict[type, tuple[str, tuple[str, ...]]] = {
    Started: ("started", ("phase", "items", "size")),
    ItemStarted: ("item-started", ("key", "name", "size")),
    Advanced: ("advanced", ("key", "amount")),
    Finished: ("finished", ("key", "outcome")),
    Retrying: ("retrying", ("key", "attempt", "wait", "why")),
    Notice: ("notice", ("code", "message")),
    Requested: ("requested", ("method", "url", "status", "seconds")),
    Done: ("done", ("summary",)),
}
_FOREIGN = frozenset(["why", "message", "url"])
"""Fields whose text may have come from a server or a URL."""


def document(event: Event) -> dict[str, Any]:
    """The object written for `event`."""
    name, fields = _FIELDS[type(event)]
    values = {field: getattr(event, field) for field in fields}
    for field in _FOREIGN.intersection(fields):
        values[field] = redact(values[field])
    if isinstance(event, Done):
        values["summary"] = dict(event.summary)
    return {"v": SCHEMA, "event": name, **values}


class JsonLinesSink:
    """Writes one line per event to `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._broken = False

    def __call__(self, event: Event) -> None:
        # ASCII only: the escapes of JSON keep control and bidi characters off a terminal that shows the lines.
        line = json.dumps(document(event), separators=(",", ":"), default=str) + "\n"
        with self._lock:
            if self._broken:
                return
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):
                # Nobody reads any more; the transfer goes on.
                self._broken = True

    def close(self) -> None:
        """Nothing is held back."""
