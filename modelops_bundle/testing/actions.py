"""What can go wrong between a client and the in-process registry, one class per misfortune."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from modelops_bundle.testing.protocol import Call, Response, refusal


class Action:
    """Changes a call before it is answered, answers it instead, or changes the answer."""

    reads_body = True
    """Whether the request's body is read first; else the answer comes at once and the connection closes."""
    reads_up_to: int | None = None
    """Bytes of the request's body after which the connection is reset, None for no such thing."""

    def before(self, call: Call) -> Call | Response:
        """The call to answer, or the answer."""
        return call

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002  (for subclasses)
        """The answer to send."""
        return response


@dataclass(frozen=True)
class Status(Action):
    """Answer with `status` and do nothing."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    reads_body: bool = True

    def before(self, call: Call) -> Call | Response:  # noqa: ARG002
        return Response(self.status, self.headers, self.body)


@dataclass(frozen=True)
class Refuse(Action):
    """Answer with an error as registries word it."""

    status: int
    code: str
    message: str = "refused"

    def before(self, call: Call) -> Call | Response:  # noqa: ARG002
        return refusal(self.status, self.code, self.message)


@dataclass(frozen=True)
class Most(Action):
    """413 to bodies of more than `size` bytes, as a proxy with a limit says it."""

    size: int

    def before(self, call: Call) -> Call | Response:
        return (
            call if len(call.body) <= self.size else Response(413, {"Content-Type": "text/html"}, b"<html>413</html>")
        )


@dataclass(frozen=True)
class Cut(Action):
    """Close the connection after `at` bytes of the body, by RST when `reset`."""

    at: int
    reset: bool = False

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        return replace(response, cut=self.at, reset=self.reset, declared=len(response.body))


@dataclass(frozen=True)
class Corrupt(Action):
    """Flip every bit of the body's byte at `at`."""

    at: int = 0

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        body = bytearray(response.body)
        if body:
            body[min(self.at, len(body) - 1)] ^= 0xFF
        return replace(response, body=bytes(body))


@dataclass(frozen=True)
class Digest(Action):
    """Send another `Docker-Content-Digest`; none when `digest` is None."""

    digest: str | None

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        headers = {name: text for name, text in response.headers.items() if name != "Docker-Content-Digest"}
        return replace(
            response, headers=headers if self.digest is None else {**headers, "Docker-Content-Digest": self.digest}
        )


@dataclass(frozen=True)
class Headers(Action):
    """Add or replace headers."""

    headers: Mapping[str, str]

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        return replace(response, headers={**response.headers, **self.headers})


@dataclass(frozen=True)
class Body(Action):
    """Answer 200 with another body, its length announced truthfully."""

    body: bytes
    status: int = 200

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        return replace(response, status=self.status, body=self.body)


@dataclass(frozen=True)
class Short(Action):
    """Send `by` bytes less than there are, their length announced truthfully."""

    by: int = 1

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        return replace(response, body=response.body[: max(0, len(response.body) - self.by)])


@dataclass(frozen=True)
class Long(Action):
    """Send `by` bytes more than there are, their length announced truthfully."""

    by: int = 1

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        return replace(response, body=response.body + bytes(self.by))


class Endless(Action):
    """Go on with zero bytes until the client leaves."""

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        return replace(response, endless=True)


class Stall(Action):
    """Do nothing more until `release()`; `reached` is set when it begins.

    :param headers: answer with the headers first, and hold back the body.
    :param body: read the request's body first.
    """

    def __init__(self, headers: bool = True, body: bool = True) -> None:
        self._headers = headers
        self._gate = threading.Event()
        self.reads_body = body
        self.reached = threading.Event()

    def release(self) -> None:
        """Go on."""
        self._gate.set()

    def before(self, call: Call) -> Call | Response:
        if not self._headers:
            self._wait()
        return call

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        return replace(response, gate=self._wait) if self._headers else response

    def _wait(self) -> None:
        self.reached.set()
        self._gate.wait()


@dataclass(frozen=True)
class Redirect(Action):
    """Send the client to `url`; `{target}` in it stands for the target of the request."""

    url: str
    status: int = 307

    def before(self, call: Call) -> Call | Response:
        return Response(self.status, {"Location": self.url.replace("{target}", call.target)})


@dataclass(frozen=True)
class Reset(Action):
    """Close by RST before the status line: before reading the request's body, or after having done it all."""

    done: bool = False

    @property
    def reads_body(self) -> bool:  # type: ignore[override]
        return self.done

    def before(self, call: Call) -> Call | Response:
        return call if self.done else Response(0, reset=True)

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        return Response(0, reset=True)


class CutUpload(Action):
    """Reset the connection after `at` bytes of the request's body."""

    def __init__(self, at: int) -> None:
        self.reads_up_to = at


class First(Action):
    """Do something of the test's own, then answer as ever."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do

    def before(self, call: Call) -> Call | Response:
        self._do()
        return call


class IgnoreRange(Action):
    """Answer ranges with the whole."""

    def before(self, call: Call) -> Call | Response:
        return call.without("range")


class IgnoreMount(Action):
    """Take a mount for a plain start of an upload."""

    def before(self, call: Call) -> Call | Response:
        return replace(call, target=call.target.partition("?")[0])


@dataclass(frozen=True)
class Html(Action):
    """A web page, as captive portals and login walls send."""

    status: int = 200

    def before(self, call: Call) -> Call | Response:  # noqa: ARG002
        page = b"<!doctype html><html><body>Please log in</body></html>"
        headers = {"Content-Type": "text/html; charset=utf-8", "Docker-Distribution-Api-Version": ""}
        return Response(self.status, headers, page)


class Gzip(Action):
    """Compress the body though nobody asked."""

    def after(self, call: Call, response: Response) -> Response:  # noqa: ARG002
        return replace(
            response, headers={**response.headers, "Content-Encoding": "gzip"}, body=gzip.compress(response.body)
        )
