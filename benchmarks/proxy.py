"""A slow link before a server: `python -m benchmarks.proxy PORT [--delay S] [--rate B]`.

Listens on a free port of localhost, prints it, and carries every connection to `localhost:PORT`. Each direction of each
connection is a delay line with a token bucket: bytes leave `delay` seconds after they came, at most `rate` bytes per second,
and many may be on their way at once, so that delay costs no bandwidth. A connection's first byte waits one round trip more,
as it would for SYN and SYN-ACK. TCP's slow start and loss are not played. A line on standard input is answered with the bytes
carried so far, to the server and back; the end of standard input ends the program.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

BLOCK = 32 * 1024
IN_FLIGHT = 64 * 1024 * 1024


@dataclass(slots=True)
class Line:
    """When bytes leave one direction of one connection; `opened` is when its first may enter. Seconds, bytes."""

    delay: float
    rate: float | None
    opened: float
    _free: float = field(default=0.0)

    def leaves(self, now: float, size: int) -> float:
        """The moment at which the last of `size` bytes that came at `now` is on the other side."""
        enters = max(now, self.opened, self._free)
        self._free = enters + (size / self.rate if self.rate else 0.0)
        return self._free + self.delay


class Totals:
    """Bytes carried each way by all connections."""

    def __init__(self) -> None:
        self.up = self.down = 0
        self._lock = threading.Lock()

    def add(self, size: int, *, up: bool) -> None:
        with self._lock:
            if up:
                self.up += size
            else:
                self.down += size


class Pump:
    """Carries one direction: one thread takes bytes from `source` as they come, one gives them to `target` when they are due."""

    def __init__(self, source: socket.socket, target: socket.socket, line: Line, totals: Totals, *, up: bool) -> None:
        self._source, self._target, self._line = source, target, line
        self._totals, self._up = totals, up
        # What a rate lets through in a quarter second is enough to keep the line full.
        self._room = int(line.rate * (0.25 + 2 * line.delay)) if line.rate else IN_FLIGHT
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._gone = False
        self._changed = threading.Condition()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._take, self._give)]
        for thread in self.threads:
            thread.start()

    def _take(self) -> None:
        data = b"first"
        while data and not self._gone:
            try:
                data = self._source.recv(BLOCK)
            except OSError:
                data = b""
            due = self._line.leaves(time.monotonic(), len(data))
            with self._changed:
                self._waiting.append((due, data))
                self._held += len(data)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._gone or self._held < self._room)

    def _give(self) -> None:
        try:
            while data := self._next():
                self._target.sendall(data)
            self._target.shutdown(socket.SHUT_WR)
        except OSError:
            # The other end went away: nothing more is taken for it, so that the sender notices.
            with self._changed:
                self._gone = True
                self._changed.notify_all()
            with suppress(OSError):
                self._source.shutdown(socket.SHUT_RD)

    def _next(self) -> bytes:
        """The bytes that are due next, at their moment; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            due, data = self._waiting.popleft()
        time.sleep(max(0.0, due - time.monotonic()))
        self._totals.add(len(data), up=self._up)
        with self._changed:
            self._held -= len(data)
            self._changed.notify_all()
        return data


def carry(client: socket.socket, port: int, delay: float, rate: float | None, totals: Totals) -> None:
    """Carry one connection until both ends are done."""
    opened = time.monotonic() + 2 * delay
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = Pump(client, server, Line(delay, rate, opened), totals, up=True)
        down = Pump(server, client, Line(delay, rate, opened), totals, up=False)
        for thread in up.threads + down.threads:
            thread.join()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxy")
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds each way")
    parser.add_argument("--rate", type=float, help="bytes per second, each way of each connection")
    asked = parser.parse_args()
    totals = Totals()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(
                target=carry, args=(client, asked.port, asked.delay, asked.rate, totals), daemon=True
            ).start()

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(totals.up, totals.down, flush=True)


if __name__ == "__main__":
    main()
