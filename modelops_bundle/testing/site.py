"""A web site in this process, with the account, the faults and the server of the in-process registry."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import quote, urlencode

from modelops_bundle.testing.actions import Action
from modelops_bundle.testing.protocol import Call, Response, ranged
from modelops_bundle.testing.registry import Logged, Registry

Answer = Callable[[Call], Response]


class Site(Registry):
    """Answers what `answer` says. `requests` is what it was asked; `fault` and `heal` are those of the registry.

    :param name: the host it is reached by: another name is another origin, whatever the port.
    """

    def __init__(self, answer: Answer, name: str = "localhost") -> None:
        self._reply = answer
        self._name = name
        super().__init__()

    @property
    def host(self) -> str:
        """`HOST:PORT`."""
        return f"{self._name}:{self._server.server_address[1]}"

    def answer(self, call: Call, action: Action) -> Response:
        changed = action.before(call)
        response = changed if isinstance(changed, Response) else action.after(changed, self._reply(changed))
        # Only registries say that they are one.
        return response.with_headers(Docker_Distribution_Api_Version="")


class Storage:
    """Objects at signed addresses that expire: the second origin that hubs send their clients to.

    It answers 400 to whoever brings a login (a signature is the only one it takes), as Cloudflare's R2 does.

    :param life: seconds that an address is good for.
    """

    def __init__(self, life: float = 3600.0) -> None:
        self.life = life
        self.objects: dict[str, bytes] = {}
        self.clock: Callable[[], float] = time.time
        self._key = secrets.token_bytes(16)
        self.site = Site(self._answer, "127.0.0.1")

    def close(self) -> None:
        """Stop serving."""
        self.site.close()

    @property
    def leaks(self) -> list[Logged]:
        """The requests that brought a login here: none may."""
        return [one for one in list(self.site.requests) if {"authorization", "cookie"} & set(one.headers)]

    def put(self, data: bytes) -> str:
        """Keep `data`; its key."""
        key = hashlib.sha256(data).hexdigest()
        self.objects[key] = data
        return key

    def sign(self, key: str, name: str) -> str:
        """An address of `key` that is good from now on, and suggests the file name `name`."""
        said = f"attachment; filename*=UTF-8''{quote(name, safe='')}; filename=\"{name}\""
        query = {"response-content-disposition": said, "Expires": str(int(self.clock() + self.life))}
        return f"{self.site.url}/{key}?{urlencode({**query, 'Signature': self._signature(key, query['Expires'])})}"

    def expire(self) -> None:
        """No address given so far is good any more."""
        self._key = secrets.token_bytes(16)

    def _signature(self, key: str, expires: str) -> str:
        return hmac.new(self._key, f"{key}\n{expires}".encode(), "sha256").hexdigest()

    def _answer(self, call: Call) -> Response:
        key, expires = call.path.strip("/"), call.parameter("Expires") or "0"
        if "authorization" in call.headers:
            return Response(400, {"Content-Type": "application/xml"}, b"<Error><Code>InvalidArgument</Code></Error>")
        if call.parameter("Signature") != self._signature(key, expires) or float(expires) <= self.clock():
            return Response(403, {"Content-Type": "application/xml"}, b"<Error><Code>ExpiredRequest</Code></Error>")
        if key not in self.objects:
            return Response(404, {"Content-Type": "application/xml"}, b"<Error><Code>NoSuchKey</Code></Error>")
        # Not the digest: storage has tags of its own.
        headers = {"ETag": f'"{key[:32]}"', "Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        said = call.parameter("response-content-disposition")
        if said:
            headers["Content-Disposition"] = said
        return part(call, self.objects[key], headers)


def part(call: Call, data: bytes, headers: Mapping[str, str]) -> Response:
    """`data`, or the range of it that is asked for and still meant (`If-Range`, RFC 9110 §13.1.5)."""
    meant = call.headers.get("if-range")
    if meant is not None and meant != headers.get("ETag"):
        call = call.without("range")
    answer = ranged(call, data)
    return Response(answer.status, {**answer.headers, **headers}, answer.body)


def document(value: Any, status: int = 200, **headers: str) -> Response:
    """`value` as JSON; `_` stands for `-` in the names of headers."""
    answer = Response(status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode())
    return answer.with_headers(**headers)


def bearer(call: Call) -> str | None:
    """The token that a call brings; None when it brings none."""
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    return token if kind.lower() == "bearer" and token else None


class Served(ABC):
    """A server in this process, and the storage that it sends its clients to."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.site = Site(self.answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.site.close()
        self.storage.close()

    @property
    def url(self) -> str:
        """The root URL."""
        return self.site.url

    @abstractmethod
    def answer(self, call: Call) -> Response:
        """What is answered; asked from several threads."""
