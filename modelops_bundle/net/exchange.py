"""Requests and answers: what the client is asked, and a body that is still on the wire."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

from modelops_bundle.errors import Corrupt
from modelops_bundle.events import Run
from modelops_bundle.model.ports import Piece
from modelops_bundle.net import problems
from modelops_bundle.net.options import Origin
from modelops_bundle.net.redact import redact_url
from modelops_bundle.net.retry import Transient
from modelops_bundle.net.throttle import RECEIVED, Pieces, Throttle

_NO_HEADERS: Mapping[str, str] = {}

Body = bytes | Iterable[Piece]


class Raw(Protocol):
    """An answer on the wire, as `transport.Received` describes it."""

    status: int
    headers: Mapping[str, str]

    def read(self, amount: int) -> bytes: ...

    def close(self) -> None: ...


class Sender(Protocol):
    """Sends one request, as `transport.Transport` does; tests bring their own."""

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None, patience: float = 0.0
    ) -> Raw: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask.

    :param kind: what is asked for, in one word, for checkpoints and messages.
    :param body: bytes, or pieces whose lengths add up to `length`; pieces are sent once only.
    :param accept: the statuses that the caller understands; every other one is an error.
    :param scope: what the login must allow (`auth.pull_scope`, `push_scope`), None to send no login.
    :param key: names the item in `Retrying` events; the redacted URL when None.
    :param patience: seconds that the server may think before it answers, on top of the stall timeout.
    """

    method: str
    url: str
    kind: str
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)
    body: Body | None = None
    length: int | None = None
    accept: frozenset[int] = frozenset([200])
    scope: str | None = ""
    key: str | None = None
    patience: float = 0.0

    @property
    def name(self) -> str:
        """How events call the item."""
        return self.key or redact_url(self.url)

    @property
    def repeatable(self) -> bool:
        """Whether the same value can be sent again."""
        return self.body is None or isinstance(self.body, bytes)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Answer:
    """An answer whose body is still to be read. `url` is where it came from, after redirects."""

    def __init__(self, raw: Raw, url: str, run: Run, throttle: Throttle) -> None:
        self._raw = raw
        self._run = run
        self._throttle = throttle
        self.url = url
        self.status = raw.status
        self.headers = raw.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; it is kept alive only when the body was read to its end."""
        self._raw.close()

    @property
    def length(self) -> int | None:
        """The announced size of the body in bytes."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces of at most `RECEIVED` bytes.

        :raises Transient: the connection broke or stalled. :raises Corrupt: the body is encoded.
        """
        self._refuse_encoding()
        pieces = Pieces(min(RECEIVED, self._throttle.block))
        while True:
            self._run.check()
            began = time.monotonic()
            data = self._raw.read(pieces.size)
            if not data:
                return
            pieces.took(time.monotonic() - began)
            self._throttle.take(len(data))
            yield data

    def read(self, limit: int) -> bytes:
        """The whole body.

        :raises Corrupt: more than `limit` bytes, or encoded. :raises Transient: the connection broke or stalled.
        """
        self._refuse_encoding()
        announced = self.length
        data = b"" if announced is not None and announced > limit else self._read_up_to(limit + 1)
        if len(data) > limit or (announced is not None and announced > limit):
            raise Corrupt(
                f"{Origin.of(self.url).netloc} sends more than the {limit} bytes that such an answer may have"
            )
        return data

    def read_error(self) -> bytes:
        """What an error's body begins with; never raises for what is in it."""
        try:
            return b"" if self._is_encoded() else self._read_up_to(problems.MAX_ERROR)
        except Transient:
            return b""

    def _read_up_to(self, limit: int) -> bytes:
        parts: list[bytes] = []
        left = limit
        while left > 0:
            self._run.check()
            data = self._raw.read(min(left, 65536))
            if not data:
                break
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def _is_encoded(self) -> bool:
        transfer = self.headers.get("transfer-encoding", "chunked").strip().lower()
        content = self.headers.get("content-encoding", "identity").strip().lower()
        return content not in ("", "identity") or transfer not in ("chunked", "identity")

    def _refuse_encoding(self) -> None:
        # We ask for identity; a small encoded body can unpack to gigabytes (facts: reliability §3.3).
        if self._is_encoded():
            self.close()
            raise Corrupt(f"{Origin.of(self.url).netloc} sent a compressed answer that was not asked for")
