"""Counts what passes to a server: `python -m benchmarks.delta.counter PORT`.

Listens on a free port of localhost, prints it, and carries every connection to `localhost:PORT` as it is. HTTP/1.1 is read
on the way: requests, and the bytes of bodies to the server and back, without heads and without the marks of chunked bodies.
A line on standard input is answered with `requests sent received`; the end of standard input ends the program.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 20
_ROOT = Path(__file__).resolve().parent.parent.parent
_UNTIL_CLOSED = -1


class Messages:
    """The messages of one direction of one connection, fed as they come.

    :param has_body: told the first line of a head, whether a body may follow.
    :param on_body: given the bytes of bodies.
    """

    def __init__(self, has_body: Callable[[str], bool], on_body: Callable[[int], None]) -> None:
        self._has_body, self._on_body = has_body, on_body
        self._line = bytearray()
        self._left = 0
        self._state: Callable[[memoryview], memoryview] = self._head

    def feed(self, data: memoryview) -> None:
        """Read on."""
        while data:
            data = self._state(data)

    def _head(self, data: memoryview) -> memoryview:
        rest = self._until(b"\r\n\r\n", data)
        if rest is None:
            return data[len(data) :]
        first, *fields = self._line.decode("latin-1").split("\r\n")
        self._line.clear()
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if not self._has_body(first):
            return rest
        if headers.get("transfer-encoding", "").lower() == "chunked":
            self._state = self._chunk
        else:
            # A request without length has no body, a response ends with the connection then.
            missing = _UNTIL_CLOSED if first.startswith("HTTP/") else 0
            self._left = int(headers.get("content-length", missing))
            self._state = self._body if self._left else self._head
        return rest

    def _body(self, data: memoryview) -> memoryview:
        taken = len(data) if self._left == _UNTIL_CLOSED else min(self._left, len(data))
        self._on_body(taken)
        if self._left != _UNTIL_CLOSED:
            self._left -= taken
            self._state = self._body if self._left else self._head
        return data[taken:]

    def _chunk(self, data: memoryview) -> memoryview:
        rest = self._until(b"\r\n", data)
        if rest is None:
            return data[len(data) :]
        self._left = int(self._line.split(b";")[0], 16)
        self._line.clear()
        self._state = self._chunk_body if self._left else self._trailer
        return rest

    def _chunk_body(self, data: memoryview) -> memoryview:
        taken = min(self._left, len(data))
        self._on_body(taken)
        self._left -= taken
        if not self._left:
            self._state = self._chunk_end
        return data[taken:]

    def _chunk_end(self, data: memoryview) -> memoryview:
        rest = self._until(b"\r\n", data)
        if rest is None:
            return data[len(data) :]
        self._line.clear()
        self._state = self._chunk
        return rest

    def _trailer(self, data: memoryview) -> memoryview:
        rest = self._until(b"\r\n", data)
        if rest is None:
            return data[len(data) :]
        if not self._line:
            self._state = self._head
        self._line.clear()
        return rest

    def _until(self, mark: bytes, data: memoryview) -> memoryview | None:
        """Collect up to `mark`, which is left out; what follows it, or None when it has not come yet."""
        before = len(self._line)
        self._line += data
        at = self._line.find(mark)
        if at < 0:
            return None
        del self._line[at:]
        return data[at + len(mark) - before :]


class Totals:
    """What all connections carried."""

    def __init__(self) -> None:
        self.requests = self.sent = self.received = 0
        self._lock = threading.Lock()

    def request(self) -> None:
        with self._lock:
            self.requests += 1

    def send(self, size: int) -> None:
        with self._lock:
            self.sent += size

    def receive(self, size: int) -> None:
        with self._lock:
            self.received += size


class Exchange:
    """Both directions of one connection: a response has a body or not by the request it answers."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._asked: deque[str] = deque()
        self.up = Messages(self._request, totals.send)
        self.down = Messages(self._response, totals.receive)

    def _request(self, line: str) -> bool:
        self._asked.append(line.partition(" ")[0])
        self._totals.request()
        return True

    def _response(self, line: str) -> bool:
        status = int(line.split(" ")[1])
        if status < 200:
            return False
        return self._asked.popleft() != "HEAD" and status not in (204, 304)


def carry(client: socket.socket, port: int, totals: Totals) -> None:
    """Carry one connection until both ends are done."""
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        exchange = Exchange(totals)
        back = threading.Thread(target=_pump, args=(server, client, exchange.down), daemon=True)
        back.start()
        _pump(client, server, exchange.up)
        back.join()


def _pump(source: socket.socket, target: socket.socket, messages: Messages) -> None:
    room = memoryview(bytearray(_BLOCK))
    with suppress(OSError):
        while size := source.recv_into(room):
            messages.feed(room[:size])  # before it is passed on: who has an answer finds it counted
            target.sendall(room[:size])
    for end, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with suppress(OSError):
            end.shutdown(how)


@dataclass(frozen=True, slots=True)
class Counted:
    """A way to a server on which everything is counted."""

    port: int
    _process: subprocess.Popen[str]

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def totals(self) -> tuple[int, int, int]:
        """Requests, bytes of their bodies, bytes of the bodies of responses so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        requests, sent, received = self._process.stdout.readline().split()
        return int(requests), int(sent), int(received)


@contextmanager
def counted(port: int) -> Iterator[Counted]:
    """A counted way to `localhost:port`."""
    command = [sys.executable, "-m", "benchmarks.delta.counter", str(port)]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Counted(int(process.stdout.readline()), process)
        finally:
            process.stdin.close()
            process.wait()


def main() -> None:
    """Serve until standard input ends."""
    port, totals = int(sys.argv[1]), Totals()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=carry, args=(client, port, totals), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(totals.requests, totals.sent, totals.received, flush=True)


if __name__ == "__main__":
    main()
