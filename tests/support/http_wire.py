"""HTTP/1.1 on a socket, as far as registries use it (RFC 9112): heads, and bodies piece by piece."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

PIECE = 256 * 1024
_HEAD = 64 * 1024
_KINDS = (("upload", "/blobs/uploads/"), ("blob", "/blobs/"), ("manifest", "/manifests/"), ("tags", "/tags/"))


class Gone(Exception):
    """Who was to get bytes takes none any more."""


@dataclass(frozen=True)
class Head:
    """The first line of a request or an answer, and its header fields, names in lower case."""

    first: str
    fields: Mapping[str, str]

    @property
    def method(self) -> str:
        """Of a request."""
        return self.first.split(" ")[0]

    @property
    def target(self) -> str:
        """Of a request."""
        return self.first.split(" ")[1]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first.split(" ")[1])

    @property
    def kind(self) -> str:
        """What a request is about: upload, blob, manifest, tags, else ping."""
        return next((kind for kind, part in _KINDS if part in self.target), "ping")

    @property
    def length(self) -> int:
        """Content-Length, 0 when it says none."""
        return int(self.fields.get("content-length", "0"))

    @property
    def chunked(self) -> bool:
        """Whether the body is in chunks (RFC 9112 §7.1)."""
        return self.fields.get("transfer-encoding", "").lower() == "chunked"

    def having(self, **fields: str | None) -> Head:
        """With these fields (underscores for dashes); None removes one."""
        changed = {name.replace("_", "-"): value for name, value in fields.items()}
        kept = {name: value for name, value in self.fields.items() if name not in changed}
        return replace(self, fields=kept | {name: value for name, value in changed.items() if value is not None})

    def to_bytes(self) -> bytes:
        """As it goes over the wire."""
        lines = [self.first, *(f"{name}: {value}" for name, value in self.fields.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Wire:
    """A socket with what was read of it too early."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._ahead = b""

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def head(self) -> Head | None:
        """The next head, None at the end of the connection."""
        while b"\r\n\r\n" not in self._ahead:
            more = self.sock.recv(_HEAD)
            if not more:
                return None
            self._ahead += more
        text, _, self._ahead = self._ahead.partition(b"\r\n\r\n")
        first, *lines = text.decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        return Head(first, {name.strip().lower(): value.strip() for name, value in pairs})

    def body(self, head: Head) -> Iterator[bytes]:
        """The body, in chunks with their framing as it came."""
        if not head.chunked:
            yield from self._exactly(head.length)
            return
        size = -1
        while size != 0:
            line = self._line()
            size = int(line.split(b";")[0], 16)
            yield line
            yield from self._exactly(size + 2)

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
            piece = piece or self.sock.recv(min(PIECE, size))
            if not piece:
                raise ConnectionAbortedError("ended in a body")
            size -= len(piece)
            yield piece

    def _line(self) -> bytes:
        while b"\r\n" not in self._ahead:
            more = self.sock.recv(PIECE)
            if not more:
                raise ConnectionAbortedError("ended in a chunk")
            self._ahead += more
        line, _, self._ahead = self._ahead.partition(b"\r\n")
        return line + b"\r\n"
