"""What resolvers may ask, without sockets."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from modelops_bundle.errors import Corrupt, RateLimited, Unavailable
from modelops_bundle.net.client import Client
from modelops_bundle.net.exchange import Body
from modelops_bundle.net.retry import Policy, Transient
from modelops_bundle.sources.context import NetCtx
from modelops_bundle.sources.logins import Logins
from tests.support.canary import secret

HUB = "https://hub.example/api"


class Raw:
    def __init__(self, status: int, headers: Mapping[str, str], *parts: bytes | Transient) -> None:
        self.status = status
        self.headers = headers
        self._parts = list(parts)

    def read(self, amount: int) -> bytes:
        part = self._parts.pop(0) if self._parts else b""
        if isinstance(part, Transient):
            raise part
        return part

    def close(self) -> None: ...


class Wire:
    """Answers in turn; `sent` are the URL and headers of each request."""

    def __init__(self, *answers: Raw) -> None:
        self._answers = list(answers)
        self.sent: list[tuple[str, Mapping[str, str]]] = []

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body | None, patience: float = 0.0) -> Raw:
        self.sent.append((url, headers))
        return self._answers.pop(0)

    def abort(self) -> None: ...

    def close(self) -> None: ...


def context(wire: Wire, token: str | None = None) -> NetCtx:
    client = Client(transport=wire, policy=Policy(attempts=2, base=0.0), sleep=lambda seconds: None)
    return NetCtx(client, Logins({"hub.example": lambda: token}), {"huggingface": "https://mirror.example/"})


@pytest.mark.parametrize("status", [200, 206, 304, 400, 401, 403, 404, 410, 416, 451])
def test_answers_that_mean_something_are_given_to_who_asked(status: int) -> None:
    wire = Wire(Raw(status, {"x": "y"}, b"body"))
    heard = context(wire).ask(HUB)
    assert (heard.status, heard.headers, heard.body, heard.url) == (status, {"x": "y"}, b"body", HUB)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_others_are_asked_again(status: int) -> None:
    assert context(Wire(Raw(status, {}), Raw(200, {}, b"x"))).ask(HUB).body == b"x"
    with pytest.raises(Unavailable):
        context(Wire(Raw(status, {}), Raw(status, {}))).ask(HUB)


def test_a_login_is_left_behind_where_a_redirect_leaves_its_origin() -> None:
    token = secret("token")
    wire = Wire(
        Raw(307, {"location": "/other"}), Raw(302, {"location": "https://storage.example/x"}), Raw(200, {}, b"data")
    )
    with context(wire, token).stream(HUB, headers={"Range": "bytes=0-3"}) as stream:
        assert (stream.status, stream.url) == (200, "https://storage.example/x")
        assert b"".join(stream.chunks()) == b"data"
    said = [headers.get("Authorization") for _, headers in wire.sent]
    assert said == [f"Bearer {token}", f"Bearer {token}", None]
    assert all(headers["Range"] == "bytes=0-3" for _, headers in wire.sent)


def test_a_token_that_is_quoted_is_hidden() -> None:
    token = secret("token")
    heard = context(Wire(Raw(401, {}, f'{{"error": "bad token {token}"}}'.encode())), token).ask(HUB)
    assert heard.body == b'{"error": "bad token ***"}'


def test_answers_have_a_limit() -> None:
    with pytest.raises(Corrupt):
        context(Wire(Raw(200, {}, b"12345"))).ask(HUB, limit=4)


def test_one_attempt_says_that_another_may_succeed() -> None:
    wire = Wire(Raw(429, {"ratelimit": '"api";r=0;t=9'}))
    with pytest.raises(RateLimited) as raised:
        with context(wire).stream(HUB):
            raise AssertionError
    assert (raised.value.facts["transient"], raised.value.facts["retry_after"]) == (True, 10.0)
    wire = Wire(Raw(200, {}, b"a", Transient(Unavailable("broken"))))
    with context(wire).stream(HUB) as stream, pytest.raises(Unavailable) as broken:
        list(stream.chunks())
    assert broken.value.facts == {"transient": True}


def test_it_knows_what_it_was_told() -> None:
    ctx = context(Wire(), secret("token"))
    assert ctx.knows_us(HUB) and not ctx.knows_us("https://other.example/")
    assert (ctx.endpoint("huggingface"), ctx.endpoint("civitai")) == ("https://mirror.example", None)
