"""Reads parts of a file at an HTTP address that may redirect to a signed one (facts: fetch §3.3 and §3.4)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

from modelops_bundle.errors import BundleError, Corrupt, SourceChanged, Unavailable
from modelops_bundle.model import paths
from modelops_bundle.model.remote import Ctx, Heard, Place, Probe, RemoteFile, SourceCaps, Stream, Validator
from modelops_bundle.net.options import Origin
from modelops_bundle.net.problems import MAX_ERROR, is_html

Explain = Callable[[Heard], BundleError]
"""The error of a refusal, in words of its source."""

_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")
_PAGES = (".html", ".htm", ".xhtml")


class HttpRanges:
    """One file at one place. The address that the place redirects to is kept, and asked for anew when it is refused.

    :param explain: makes an error of what the place itself refuses.
    """

    def __init__(self, file: RemoteFile, place: Place, ctx: Ctx, explain: Explain) -> None:
        self._file = file
        self._place = place
        self._ctx = ctx
        self._explain = explain
        self._lock = threading.Lock()
        self._redirected: str | None = None
        self._tags: dict[str, str] = {}
        self._ranges: bool | None = None

    @property
    def caps(self) -> SourceCaps:
        """Whether there are ranges is known after the first answer."""
        return SourceCaps(self._ranges)

    def probe(self) -> Probe:
        """Asks for one byte: HEAD is refused, or lies, at signed addresses."""
        with self._answer({"Range": "bytes=0-0"}) as stream:
            size = self._checked(stream, 0)
            host = Origin.of(stream.url).netloc
            return Probe(size, Validator.of(stream.headers), stream.status == 206, host)

    def read(self, start: int, stop: int | None) -> Iterator[tuple[int, bytes]]:
        """As the port says. A server without ranges is read from its beginning, and what was not asked for dropped.

        :raises Unavailable: it ended early; another attempt may succeed (`facts["transient"]`).
        """
        if stop is not None and stop <= start:
            return
        whole = start == 0 and stop is None
        headers = {} if whole else {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        with self._answer(headers) as stream:
            size = self._checked(stream, start)
            if stream.status == 416:
                return
            at = start if stream.status == 206 else 0
            end = stop if stop is not None else size
            yield from self._pieces(stream, at, start, end)

    def refresh(self, reason: str) -> None:  # noqa: ARG002  (the port's signature)
        """Forget the signed address: the next read asks its place."""
        with self._lock:
            self._redirected = None

    # --- asking

    @contextmanager
    def _answer(self, headers: Mapping[str, str]) -> Iterator[Stream]:
        """One usable answer: of the redirected address, or of the place itself when that one is refused."""
        ranged = "Range" in headers
        # Another thread may have got a new address meanwhile, and that one may be refused too.
        for last in (False, False, True):
            with self._lock:
                url = self._redirected or self._place.url
                tag = self._tags.get(Origin.of(url).netloc) if ranged else None
            with self._ctx.stream(url, headers={**headers, **({"If-Range": tag} if tag else {})}) as stream:
                if stream.status in (200, 206, 416):
                    self._learn(stream, ranged)
                    yield stream
                    return
                refused = Heard(stream.status, stream.headers, _beginning(stream), stream.url)
            if url == self._place.url or last:
                raise self._refusal(refused)
            self._forget(url)

    def _refusal(self, refused: Heard) -> BundleError:
        there = Origin.of(refused.url)
        if there == Origin.of(self._place.url):
            return self._explain(refused)
        message = f"{there.netloc}, where {self._place.host} sends its clients, answered {refused.status}"
        hint = "check the clock of this machine: such addresses expire"
        return Unavailable(message, hint=hint, host=there.netloc, status=refused.status, transient=True)

    def _learn(self, stream: Stream, ranged: bool) -> None:
        with self._lock:
            self._redirected = stream.url if stream.url != self._place.url else None
            if ranged and stream.status != 416:
                self._ranges = stream.status == 206

    def _forget(self, url: str) -> None:
        """Unless another thread has a newer one already."""
        with self._lock:
            if self._redirected == url:
                self._redirected = None

    # --- believing

    def _checked(self, stream: Stream, start: int) -> int | None:
        """The size of the file, after an answer was found to be about it.

        :raises SourceChanged: it is about another version. :raises Corrupt: it is a web page, or makes no sense.
        """
        name = paths.display(self._file.path)
        if is_html(stream.headers, b"") and not self._file.path.lower().endswith(_PAGES):
            raise Corrupt(
                f"{Origin.of(stream.url).netloc} sent a web page in place of {name}",
                hint="a login may be wanted: open the address in a browser",
            )
        self._compare_tags(stream)
        begin, size = self._extent(stream)
        if stream.status == 206 and begin != start:
            raise Corrupt(f"{Origin.of(stream.url).netloc} sent other bytes of {name} than were asked for")
        known = self._file.size
        if known is not None and size is not None and size != known:
            raise SourceChanged(f"{name} has {size} bytes by now, and had {known}", path=name)
        if stream.status == 416 and (size is None or start < size):
            raise Corrupt(f"{Origin.of(stream.url).netloc} refuses bytes of {name} that it has")
        return size if size is not None else known

    def _extent(self, stream: Stream) -> tuple[int | None, int | None]:
        """Where the body begins and how large the whole is, as the answer says."""
        if stream.status == 200:
            length = stream.headers.get("content-length", "")
            return 0, int(length) if length.isascii() and length.isdigit() else None
        found = _CONTENT_RANGE.fullmatch(stream.headers.get("content-range", ""))
        if found is None:
            raise Corrupt(f"{Origin.of(stream.url).netloc} does not say which bytes it sends")
        return int(found[1]) if found[1] else None, None if found[3] == "*" else int(found[3])

    def _compare_tags(self, stream: Stream) -> None:
        """Tags are compared with those of the same host: two edges of a network may have different ones."""
        validator = Validator.of(stream.headers)
        if validator is None or not validator.strong or stream.status == 416:
            return
        host = Origin.of(stream.url).netloc
        with self._lock:
            known = self._tags.setdefault(host, validator.value)
        if known != validator.value:
            raise SourceChanged(f"{paths.display(self._file.path)} was replaced at {host}", host=host)

    def _pieces(self, stream: Stream, at: int, start: int, end: int | None) -> Iterator[tuple[int, bytes]]:
        for chunk in stream.chunks():
            first, last = max(at, start), at + len(chunk) if end is None else min(at + len(chunk), end)
            if last > first:
                yield first, chunk[first - at : last - at]
            at += len(chunk)
            if end is not None and at >= end:
                return
        if end is not None and at < end:
            message = f"{Origin.of(stream.url).netloc} ended {paths.display(self._file.path)} {end - at} bytes early"
            raise Unavailable(message, transient=True)


def _beginning(stream: Stream) -> bytes:
    """What an error's body begins with."""
    try:
        return b"".join(islice(stream.chunks(), 4))[:MAX_ERROR]
    except BundleError:
        return b""
