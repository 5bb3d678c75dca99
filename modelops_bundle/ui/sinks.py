"""Which sink a command gets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

if TYPE_CHECKING:
    from modelops_bundle.events import Event, Sink

Progress = Literal["auto", "plain", "json", "none"]
PROGRESS: tuple[Progress, ...] = ("auto", "plain", "json", "none")
Kind = Literal["console", "plain", "json", "none"]


class _Closable(Protocol):
    def __call__(self, event: Event) -> None: ...
    def close(self) -> None: ...


class SinkContext:
    """Gives a sink for the time of a `with`, and leaves the terminal clean."""

    def __init__(self, kind: Kind, sink: _Closable) -> None:
        self.kind = kind
        self.sink = sink

    def __enter__(self) -> Sink:
        return self.sink

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sink.close()


def choose(
    progress: Progress,
    *,
    quiet: bool,
    verbose: bool,
    json_output: bool,
    stderr_is_tty: bool,
    ci: bool,
    colour: bool = True,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SinkContext:
    """The sink for these circumstances. `none` still shows notices: they are what a user should read."""
    out = sys.stderr if stream is None else stream
    kind = _kind(progress, quiet=quiet, json_output=json_output, stderr_is_tty=stderr_is_tty, ci=ci)
    if kind == "json":
        from modelops_bundle.ui.jsonlines import JsonLinesSink

        return SinkContext(kind, JsonLinesSink(out))
    if kind == "console":
        from modelops_bundle.ui.console import ConsoleSink

        return SinkContext(kind, ConsoleSink(out, requests=verbose, colour=colour, clock=clock))
    from modelops_bundle.ui.plain import PlainSink

    return SinkContext(kind, PlainSink(out, progress=kind == "plain", requests=verbose, clock=clock))


def _kind(progress: Progress, *, quiet: bool, json_output: bool, stderr_is_tty: bool, ci: bool) -> Kind:
    if progress == "json":
        return "json"  # a program asked for it by name: quiet is about people
    if quiet or progress == "none":
        return "none"
    if progress == "plain":
        return "plain"
    if stderr_is_tty and not ci:
        return "console"
    # A program that reads the document, and no person to watch: nothing but notices.
    return "none" if json_output else "plain"
