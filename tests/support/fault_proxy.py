"""A proxy before a real registry that lets exactly one thing go wrong, at a place named by request and byte.

It understands HTTP/1.1 as far as registries use it (RFC 9112), passes `Host` on, so that the absolute `Location`s a
registry builds from it lead back here, and counts what goes through. `Where` names requests, an `Action` is the misfortune:

    rule = proxy.fault(Where("GET", "blob", path=digest), Reset(), at=50_000_000)
    ...
    assert rule.used == 1

`at` counts the bytes of the bodies of all requests that match, so that it means the same place whether a client reads a
blob at once or in many ranges.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from tests.support.http_wire import PIECE, Gone, Head, Wire

ALWAYS = 1_000_000_000
"""As `times`: until `clear`."""

Towards = Literal["up", "down", "both"]
"""To the registry (bodies of requests), to the client (bodies of answers)."""


class _Reset(Exception):
    """End both connections by RST."""


class _Close(Exception):
    """End both connections by FIN."""


@dataclass(frozen=True)
class Where:
    """Which requests: every attribute that is given must agree. `nth` is the first of them that counts, from 1.

    `least` is the length of the request's body, which tells the upload of something large from others.
    """

    method: str = ""
    kind: str = ""
    path: str = ""
    least: int = 0
    ranged: bool | None = None
    nth: int = 1

    def matches(self, asked: Head) -> bool:
        return (
            self.method in ("", asked.method)
            and self.kind in ("", asked.kind)
            and self.path in asked.target
            and (asked.length >= self.least or asked.chunked)
            and self.ranged in (None, "range" in asked.fields)
        )


# --- misfortunes


class Action:
    """Leaves everything as it is."""

    def ask(self, asked: Head) -> Head | tuple[Head, bytes]:
        """Before a request goes on: what is asked instead, or the answer."""
        return asked

    def answer(self, head: Head) -> Head:
        """Before an answer goes on."""
        return head

    def strike(self, rest: bytes) -> bytes:
        """At the byte that a rule names; `rest` is never empty."""
        return rest


@dataclass(frozen=True)
class Status(Action):
    """Answer without asking the registry."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def ask(self, asked: Head) -> Head | tuple[Head, bytes]:
        fields = {name.lower(): value for name, value in self.headers.items()}
        head = Head(f"HTTP/1.1 {self.status} Fault", {"content-length": str(len(self.body)), **fields})
        return head, b"" if asked.method == "HEAD" else self.body


def html(status: int = 200) -> Status:
    """The page of a proxy or a login form."""
    return Status(status, {"Content-Type": "text/html"}, b"<!doctype html><html><body>Please log in</body></html>")


class Reset(Action):
    """RST, before the request goes on or at a byte of a body."""

    def ask(self, asked: Head) -> Head:
        raise _Reset

    def strike(self, rest: bytes) -> bytes:
        raise _Reset


class Close(Action):
    """FIN: the body ends early."""

    def strike(self, rest: bytes) -> bytes:
        raise _Close


class Lost(Action):
    """The registry does what is asked, and the answer never arrives."""

    def answer(self, head: Head) -> Head:
        raise _Reset


class Stall(Action):
    """Nothing more on this connection, until `clear`."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def strike(self, rest: bytes) -> bytes:
        self.released.wait()
        raise _Reset


@dataclass(frozen=True)
class Late(Action):
    """The answer begins some seconds late."""

    seconds: float

    def answer(self, head: Head) -> Head:
        threading.Event().wait(self.seconds)
        return head


class Flip(Action):
    """One byte arrives wrong."""

    def strike(self, rest: bytes) -> bytes:
        return bytes([rest[0] ^ 0xFF]) + rest[1:]


@dataclass(frozen=True)
class Call(Action):
    """Do something, then go on: before the request, when the answer comes (`after`), or at a byte."""

    do: Callable[[], object]
    after: bool = False

    def ask(self, asked: Head) -> Head:
        if not self.after:
            self.do()
        return asked

    def answer(self, head: Head) -> Head:
        if self.after:
            self.do()
        return head

    def strike(self, rest: bytes) -> bytes:
        self.do()
        return rest


@dataclass(frozen=True)
class Misstate(Action):
    """The answer claims to have `by` bytes more than it has; it ends where it really ends, or is cut to fit."""

    by: int

    def answer(self, head: Head) -> Head:
        return head.having(content_length=str(head.length + self.by), connection="close")


class Whole(Action):
    """Ranges are ignored: 200 and the whole body."""

    def ask(self, asked: Head) -> Head:
        return asked.having(range=None)


class Shift(Action):
    """Another range than the one that was asked for: one byte later."""

    def ask(self, asked: Head) -> Head:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.fields.get("range", ""))
        return asked.having(range=f"bytes={int(found[1]) + 1}-{found[2]}") if found else asked


# --- rules


@dataclass
class Rule:
    """An action at its place. `used` is how often it struck."""

    where: Where
    action: Action
    at: int | None
    towards: Towards
    times: int
    used: int = 0
    matched: int = 0
    seen: int = 0
    """Bytes of bodies that passed."""
    struck: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meets(self, asked: Head) -> bool:
        """Whether it has a say in this request; each is to be asked about once."""
        if not self.where.matches(asked):
            return False
        with self._lock:
            self.matched += 1
            return self.matched >= self.where.nth

    def at_head(self) -> bool:
        """Whether it strikes now, at the head of a request that it meets."""
        with self._lock:
            return self.at is None and self._spend()

    def position(self, towards: Towards, size: int) -> int | None:
        """Where in the next `size` bytes it strikes, if it does."""
        if self.at is None or self.towards not in ("both", towards) or not size:
            return None
        with self._lock:
            position = max(0, self.at - self.seen)
            self.seen += size
            return position if position < size and self._spend() else None

    def _spend(self) -> bool:
        if self.used >= self.times:
            return False
        self.used += 1
        self.struck.set()
        return True


class Counts:
    """Bytes of bodies by kind of request and direction, and the heads of all requests, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes: Counter[tuple[str, str]] = Counter()
        self.asked: list[Head] = []

    def note(self, asked: Head) -> None:
        with self._lock:
            self.asked.append(asked)

    def move(self, kind: str, towards: Towards, size: int) -> None:
        with self._lock:
            self._bytes[kind, towards] += size

    def up(self, kind: str = "upload") -> int:
        """Bytes that went to the registry."""
        return self._bytes[kind, "up"]

    def down(self, kind: str = "blob") -> int:
        """Bytes that went to the client."""
        return self._bytes[kind, "down"]

    def total(self) -> int:
        """Bytes of all bodies."""
        return sum(self._bytes.values())


class FaultProxy:
    """Listens on a port of localhost for the registry at `upstream` (HOST:PORT). Use as a context manager."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self.upstream = (host, int(port))
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._open: set[socket.socket] = set()
        self._rules: tuple[Rule, ...] = ()
        self._reachable = threading.Event()
        self._reachable.set()
        self.counts = Counts()
        self._listener: socket.socket | None = None
        self._port = 0
        self.listen()

    @property
    def host(self) -> str:
        """As references name it."""
        return f"localhost:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        self.refuse()

    def fault(
        self, where: Where, action: Action, *, at: int | None = None, towards: Towards = "down", times: int = 1
    ) -> Rule:
        """Let `action` strike `times` requests in a row: at their heads, or from the byte `at` of their bodies on."""
        rule = Rule(where, action, at, towards, times)
        with self._lock:
            self._rules = (*self._rules, rule)
        return rule

    def clear(self) -> Counts:
        """All is well from now on; ends connections, counts anew, and returns what was counted."""
        with self._lock:
            rules, self._rules = self._rules, ()
            counted, self.counts = self.counts, Counts()
        self.listen()
        self.drop()
        for rule in rules:
            if isinstance(rule.action, Stall):
                rule.action.released.set()
        return counted

    def drop(self) -> None:
        """End every connection; what is on its way is lost."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def restarting(self, restart: Callable[[], None]) -> Call:
        """Restart the registry: every connection to it breaks, and new ones wait until it is there again."""

        def do() -> None:
            self._reachable.clear()
            try:
                restart()
            finally:
                self._reachable.set()

        return Call(do)

    def settle(self) -> None:
        """Wait until no connection is open: what a client that is gone had asked for is done, or will never be."""
        with self._idle:
            assert self._idle.wait_for(lambda: not self._open, 60), "somebody still talks"

    def refuse(self) -> None:
        """Refuse connections until `listen` or `clear`, and end those that there are."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        self.drop()

    def listen(self) -> None:
        """Accept connections, always on the same port."""
        with self._lock:
            if self._listener is not None:
                return
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Small: what one side thinks it has sent has nearly arrived.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
            listener.bind(("127.0.0.1", self._port))
            listener.listen(128)
            self._listener, self._port = listener, listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = [client]
        try:
            with self._lock:
                self._open.add(client)
            self._reachable.wait()
            server = socket.create_connection(self.upstream)
            ends.append(server)
            with self._lock:
                self._open.add(server)
            _Conversation(self, Wire(client), Wire(server)).run()
        except _Close:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
        except (_Reset, Gone, OSError):
            for sock in ends:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            with self._lock:
                self._open.difference_update(ends)
                self._idle.notify_all()
            for sock in ends:
                sock.close()

    def rules(self, asked: Head) -> list[Rule]:
        """Those that have a say in this request."""
        return [rule for rule in self._rules if rule.meets(asked)]


class _Conversation:
    """One client's connection, and the one to the registry that belongs to it."""

    def __init__(self, proxy: FaultProxy, client: Wire, server: Wire) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server

    def run(self) -> None:
        while (asked := self._client.head()) is not None:
            counts = self._proxy.counts
            counts.note(asked)
            rules = self._proxy.rules(asked)
            striking = [rule.action for rule in rules if rule.at_head()]
            if not self._exchange(asked, rules, striking, counts):
                return

    def _exchange(self, asked: Head, rules: list[Rule], striking: list[Action], counts: Counts) -> bool:
        """One request and its answer; whether the connection goes on."""
        request = asked
        for action in striking:
            result = action.ask(request)
            if isinstance(result, tuple):
                for _ in self._client.body(asked):
                    pass
                self._client.send(result[0].to_bytes() + result[1])
                return True
            request = result
        early = not self._forward(request, rules, counts)
        answer = self._server.head()
        if answer is None:
            raise _Reset
        real = answer
        for action in striking:
            answer = action.answer(answer)
        self._client.send(answer.to_bytes())
        if asked.method != "HEAD" and answer.status not in (204, 304):
            self._relay(self._server.body(real), self._client, "down", asked.kind, rules, counts, most=answer.length)
        if answer.fields.get("connection", "").lower() == "close":
            raise _Close
        return not early

    def _forward(self, request: Head, rules: list[Rule], counts: Counts) -> bool:
        """Whether the registry took the whole request; else it has probably answered before its end."""
        body = self._client.body(request)
        try:
            self._server.send(request.to_bytes())
            self._relay(body, self._server, "up", request.kind, rules, counts)
        except Gone:
            return False
        return True

    def _relay(
        self,
        body: Iterator[bytes],
        to: Wire,
        towards: Towards,
        kind: str,
        rules: list[Rule],
        counts: Counts,
        most: int | None = None,
    ) -> None:
        """Pass a body on, strikes included. `most`: what its head promises, when that may be less than what comes."""
        left = most if most else None
        for piece in body:
            if left is not None:
                piece, left = piece[:left], left - len(piece[:left])
            for rule in rules:
                position = rule.position(towards, len(piece))
                if position is not None:
                    to.send(piece[:position])
                    counts.move(kind, towards, position)
                    piece = rule.action.strike(piece[position:])
            to.send(piece)
            counts.move(kind, towards, len(piece))
