"""The client with a scripted sender: no sockets, no sleeps."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping

import pytest

from modelops_bundle.errors import BundleError, Corrupt, Interrupted, NotFound, RateLimited, Unauthorized, Unavailable
from modelops_bundle.events import Event, Limits, Requested, Retrying, Run, observe_checkpoints
from modelops_bundle.model.ports import Piece, Span
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Credentials, Given
from modelops_bundle.net.exchange import Request
from modelops_bundle.net.options import HostOptions, NetOptions
from modelops_bundle.net.retry import Transient

URL = "https://registry.example/v2/a/b/manifests/latest"
CANARY = "canary-secret-4711"
BEARER = {"www-authenticate": 'Bearer realm="https://auth.example/token",service="r"'}


class Raw:
    def __init__(self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = dict(headers or {})
        self.left = body
        self.closed = False

    def read(self, amount: int) -> bytes:
        data, self.left = self.left[:amount], self.left[amount:]
        return data

    def close(self) -> None:
        self.closed = True


class Sent:
    def __init__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> None:
        self.method, self.url, self.headers, self.body = method, url, headers, body


class Script:
    """Answers with the next line of the script: an answer, or an exception. Bodies are consumed like a socket would."""

    def __init__(self, *lines: Raw | Exception | Callable[[Sent], Raw]) -> None:
        self.lines = list(lines)
        self.sent: list[Sent] = []
        self.answered: list[Raw] = []
        self.aborted = self.closed = False
        self.patience = 0.0

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
        patience: float = 0.0,
    ) -> Raw:
        self.patience = patience
        data = body if body is None or isinstance(body, bytes) else b"".join(body)
        sent = Sent(method, url, headers, data)
        self.sent.append(sent)
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        raw = line if isinstance(line, Raw) else line(sent)
        self.answered.append(raw)
        return raw

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True


def make(script: Script, events: list[Event] | None = None, login: bool = False, **options: object) -> Client:
    run = Run(emit=(events if events is not None else []).append)
    source = Given("registry.example", Credentials("bob", CANARY)) if login else None
    slept: list[float] = []
    client = Client(
        NetOptions(**options),  # type: ignore[arg-type]
        credentials=source,
        run=run,
        transport=script,
        sleep=slept.append,
    )
    client.slept = slept  # type: ignore[attr-defined]
    return client


def get(**fields: object) -> Request:
    return Request("GET", URL, "manifest", **fields)  # type: ignore[arg-type]


def token(value: str = "tok", life: int = 300) -> Raw:
    return Raw(200, json.dumps({"token": value, "expires_in": life}).encode())


BROKEN = Transient(Unavailable("registry.example broke the connection"))


# --- plain exchanges


def test_an_answer() -> None:
    script = Script(Raw(200, b"body", {"x": "y"}))
    reply = make(script, user_agent="me/1").fetch(get(headers={"Accept": "a/b"}))
    assert (reply.status, reply.body, reply.headers, reply.url) == (200, b"body", {"x": "y"}, URL)
    assert script.sent[0].headers == {"Accept": "a/b", "Accept-Encoding": "identity", "User-Agent": "me/1"}
    assert script.answered[0].closed


def test_accepted_statuses_are_no_errors() -> None:
    assert make(Script(Raw(404))).fetch(get(accept=frozenset([200, 404]))).status == 404
    with pytest.raises(NotFound):
        make(Script(Raw(404))).fetch(get())


def test_heads_have_no_body() -> None:
    script = Script(Raw(200, b"must not be read", {"content-encoding": "gzip"}))
    assert make(script).fetch(Request("HEAD", URL, "manifest")).body == b""
    assert script.answered[0].left == b"must not be read"


def test_metadata_is_bounded() -> None:
    with pytest.raises(Corrupt):
        make(Script(Raw(200, bytes(1001)))).fetch(get(), 1000)


@pytest.mark.parametrize(
    ("body", "length"),
    [(b"abc", "3"), (b"", "0"), (None, "0"), ([b"ab", b"", b"c"], "3"), (bytes(3_000_000), "3000000")],
)
def test_bodies_have_a_length(body: bytes | list[bytes] | None, length: str) -> None:
    script = Script(Raw(201))
    size = sum(map(len, body)) if isinstance(body, list) else None
    make(script).fetch(Request("PUT", URL, "manifest", body=body, length=size, accept=frozenset([201])))
    assert script.sent[0].headers["Content-Length"] == length
    expected = body if isinstance(body, bytes) else b"".join(body or [])
    assert (script.sent[0].body or b"") == expected


def test_patience_is_passed_on() -> None:
    script = Script(Raw(200))
    make(script).fetch(get(patience=7.0))
    assert script.patience == 7.0


def test_uploads_are_cut_into_pieces_and_pay_for_the_rate() -> None:
    script = Script(Raw(201))
    run = Run(limits=Limits(rate=1_000_000))
    slept: list[float] = []
    client = Client(run=run, transport=script, sleep=slept.append)
    client.fetch(Request("PUT", URL, "upload", body=[bytes(1_000_000)], length=1_000_000, accept=frozenset([201])))
    assert script.sent[0].body == bytes(1_000_000)
    assert len(slept) >= 3


# --- events


def test_parts_of_files_are_cut_into_pieces_and_pay_for_the_rate() -> None:
    slept: list[float] = []
    got: list[Piece] = []

    class Taking(Script):
        def send(self, method: str, url: str, headers: object, body: object, patience: float = 0.0) -> Raw:
            got.extend(body)  # type: ignore[call-overload]
            return Raw()

    client = Client(transport=Taking(), run=Run(limits=Limits(rate=1_000_000)), sleep=slept.append)
    with client.once(Request("PUT", URL, "upload", body=[Span(7, 100, 2_000_100), b"end"], length=2_000_003)):
        pass
    spans = [piece for piece in got if isinstance(piece, Span)]
    assert [span.start for span in spans] == [100, *(span.stop for span in spans[:-1])]
    assert spans[-1].stop == 2_000_100
    assert max(len(span) for span in spans) <= 250_000
    assert bytes(got[-1]) == b"end"  # type: ignore[arg-type]
    assert 1.5 < max(slept) < 2.1


def test_every_request_is_told_without_secrets() -> None:
    events: list[Event] = []
    script = Script(Raw(307, headers={"location": f"https://s3.example/blob?X-Amz-Signature={CANARY}"}), Raw(200))
    make(script, events).fetch(get())
    told = [event for event in events if isinstance(event, Requested)]
    assert [(event.method, event.status) for event in told] == [("GET", 307), ("GET", 200)]
    assert told[1].url == "https://s3.example/blob?X-Amz-Signature=***"


def test_failed_requests_are_told_too() -> None:
    events: list[Event] = []
    make(Script(BROKEN, Raw(200)), events).fetch(get(key="item"))
    assert [type(event) for event in events] == [Requested, Retrying, Requested]
    assert events[0].status == 0  # type: ignore[union-attr]
    assert isinstance(events[1], Retrying)
    assert events[1].key == "item"


def test_checkpoints_stand_around_every_request() -> None:
    seen: list[str] = []
    stop = observe_checkpoints(seen.append)
    try:
        make(Script(BROKEN, Raw(200))).fetch(get())
    finally:
        stop()
    assert seen == ["request GET manifest", "request GET manifest", "answer GET manifest"]


def test_a_cancelled_run_asks_nothing() -> None:
    script = Script(Raw(200))
    client = make(script)
    client.run.cancel()
    with pytest.raises(Interrupted):
        client.fetch(get())
    assert script.sent == []


# --- retries


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_transient_statuses_are_tried_again(status: int) -> None:
    assert make(Script(Raw(status), Raw(status), Raw(200, b"x"))).fetch(get()).body == b"x"


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 413, 416, 422, 451])
def test_answers_are_not_tried_again(status: int) -> None:
    script = Script(Raw(status))
    with pytest.raises(BundleError):
        make(script).fetch(get())
    assert len(script.sent) == 1


def test_patience_ends() -> None:
    script = Script(*[Raw(503)] * 9)
    with pytest.raises(Unavailable):
        make(script).fetch(get())
    assert len(script.sent) == 6


def test_the_servers_pause_is_kept() -> None:
    client = make(Script(Raw(429, headers={"retry-after": "7"}), Raw(200)))
    client.fetch(get())
    assert 7.0 <= client.slept[0] <= 7.5  # type: ignore[attr-defined]
    with pytest.raises(RateLimited):
        make(Script(Raw(429, headers={"retry-after": "100000"}))).fetch(get())


def test_a_body_cut_in_the_middle_is_asked_for_again() -> None:
    class Cut(Raw):
        def read(self, amount: int) -> bytes:
            raise BROKEN

    assert make(Script(Cut(), Raw(200, b"whole"))).fetch(get()).body == b"whole"


def test_once_means_once() -> None:
    script = Script(Raw(503, headers={"retry-after": "3"}))
    with pytest.raises(Transient) as caught:
        make(script).once(get())
    assert caught.value.after == 3.0
    assert script.answered[0].closed


# --- redirects


def redirect(url: str, status: int = 307) -> Raw:
    return Raw(status, headers={"location": url})


def test_redirects_take_the_range_along_and_leave_the_login() -> None:
    script = Script(redirect("https://s3.example/x"), Raw(200, b"x"))
    client = make(script, login=True)
    client._auth._fixed[client.options.registry("registry.example"), ""] = "Basic " + CANARY
    client.fetch(get(headers={"Range": "bytes=1-2", "Authorization": "own " + CANARY, "Cookie": CANARY}))
    assert script.sent[0].headers["Authorization"] == "Basic " + CANARY
    assert script.sent[1].headers["Range"] == "bytes=1-2"
    assert CANARY not in str(script.sent[1].headers)


def test_redirects_within_the_registry_keep_the_login() -> None:
    script = Script(redirect("/v2/other"), redirect("https://s3.example/x"), redirect(URL), Raw(200))
    client = make(script)
    client._auth._fixed[client.options.registry("registry.example"), ""] = "Basic x"
    client.fetch(get())
    assert ["Authorization" in sent.headers for sent in script.sent] == [True, True, False, True]
    assert script.sent[1].url == "https://registry.example/v2/other"


@pytest.mark.parametrize("elsewhere", ["https://registry.example:444/x", "https://sub.registry.example/x"])
def test_another_port_or_subdomain_gets_no_login(elsewhere: str) -> None:
    script = Script(redirect(elsewhere), Raw(200))
    client = make(script)
    client._auth._fixed[client.options.registry("registry.example"), ""] = "Basic x"
    client.fetch(get())
    assert "Authorization" not in script.sent[1].headers


@pytest.mark.parametrize(
    "target",
    [
        "http://s3.example/x",
        "http://registry.example/x",
        "file:///etc/passwd",
        "ftp://h/x",
        "https://user:pw@h/x",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/x",
        "https://127.0.0.1/x",
        "https://h/\x00",
    ],
)
def test_redirects_that_are_not_followed(target: str) -> None:
    script = Script(redirect(target))
    with pytest.raises(Unavailable):
        make(script).fetch(get())
    assert len(script.sent) == 1


# --- plain HTTP, which is asked for host by host

PLAIN = "http://plain.lan:5000/v2/a/b/manifests/latest"


def plain_client(script: Script, **more: HostOptions) -> Client:
    """Logged in at a host of which plain HTTP was said; `more` is said of other hosts."""
    hosts = {"plain.lan:5000": HostOptions(plain_http=True)} | {f"{name}.lan": said for name, said in more.items()}
    login = Given("plain.lan:5000", Credentials("bob", CANARY))
    return Client(NetOptions(hosts=hosts), credentials=login, transport=script, sleep=lambda _: None)


def asked(client: Client) -> None:
    client.fetch(Request("GET", PLAIN, "manifest"))


def test_plain_http_for_one_host_is_for_no_other() -> None:
    options = NetOptions(hosts={"plain.lan:5000": HostOptions(plain_http=True)})
    hosts = ["plain.lan:5000", "plain.lan", "plain.lan:5001", "sub.plain.lan:5000", "other.lan:5000", "localhost:1"]
    assert [options.registry(host).scheme for host in hosts] == ["http", "https", "https", "https", "https", "http"]


def test_a_login_is_sent_where_plain_http_was_asked_for() -> None:
    script = Script(Raw(401, headers={"www-authenticate": "Basic realm=x"}), Raw(200))
    asked(plain_client(script))
    assert "Authorization" in script.sent[1].headers


@pytest.mark.parametrize("elsewhere", ["http://other.lan/x", "http://plain.lan:5001/x", "https://plain.lan:5000/x"])
def test_a_redirect_from_plain_http_takes_no_login_along(elsewhere: str) -> None:
    basic = {"www-authenticate": "Basic realm=x"}
    script = Script(Raw(401, headers=basic), redirect(elsewhere), Raw(200))
    asked(plain_client(script, other=HostOptions(plain_http=True)))
    assert "Authorization" in script.sent[1].headers
    assert "Authorization" not in script.sent[2].headers


@pytest.mark.parametrize(
    ("realm", "said", "allowed"),
    [
        ("http://plain.lan:5000/token", {}, True),
        ("http://other.lan/token", {}, False),
        ("http://other.lan/token", {"other": HostOptions(insecure=True)}, False),
        ("http://other.lan/token", {"other": HostOptions(plain_http=True)}, True),
        ("http://other.lan:81/token", {"other": HostOptions(plain_http=True)}, False),
        ("https://other.lan/token", {}, True),
    ],
)
def test_a_password_goes_to_realms_with_tls_or_of_which_plain_http_was_said(
    realm: str, said: dict[str, HostOptions], allowed: bool
) -> None:
    challenge = {"www-authenticate": f'Bearer realm="{realm}"'}
    script = Script(Raw(401, headers=challenge), token(), Raw(200))
    client = plain_client(script, **said)
    if allowed:
        asked(client)
    else:
        with pytest.raises(Unauthorized, match="without TLS"):
            asked(client)
    with_login = [sent.url.partition("?")[0] for sent in script.sent if "Authorization" in sent.headers]
    assert with_login == ([realm, PLAIN] if allowed else [])


def test_tls_never_sends_a_login_to_a_plain_realm() -> None:
    script = Script(Raw(401, headers={"www-authenticate": 'Bearer realm="http://plain.lan/token"'}))
    client = make(script, login=True, hosts={"plain.lan": HostOptions(plain_http=True)})
    with pytest.raises(Unauthorized, match="without TLS"):
        client.fetch(get())
    assert len(script.sent) == 1


# --- answers that are not the registry's


@pytest.mark.parametrize(
    "raw",
    [
        Raw(400),
        Raw(400, b"Client sent an HTTP request to an HTTPS server.\n", {"content-type": "text/plain"}),
        Raw(400, b"<html>The plain HTTP request was sent to HTTPS port</html>", {"content-type": "text/html"}),
    ],
)
def test_tls_that_was_asked_in_plain_http(raw: Raw) -> None:
    script = Script(raw)
    with pytest.raises(Unavailable, match=r"plain.lan:5000 speaks TLS") as caught:
        asked(plain_client(script))
    assert "--plain-http" in (caught.value.hint or "")
    assert len(script.sent) == 1


def test_an_ordinary_400_stays_one() -> None:
    for client, url in ((plain_client(Script(Raw(400, b"{}", {"a": "b"}))), PLAIN), (make(Script(Raw(400))), URL)):
        with pytest.raises(BundleError, match="answered 400"):
            client.fetch(Request("GET", url, "manifest"))


def test_a_proxy_that_wants_a_login() -> None:
    options = {"https_proxy": f"http://me:{CANARY}@proxy.example:3128"}
    with pytest.raises(Unauthorized, match=r"proxy.example:3128 refused the login") as caught:
        make(Script(Raw(407)), **options).fetch(get())
    assert CANARY not in str(caught.value.to_json())
    with pytest.raises(Unavailable, match="answered 407"):
        make(Script(Raw(407))).fetch(get())


# --- back-pressure


def test_complaints_and_successes_reach_the_gate_of_their_host() -> None:
    script = Script(redirect("https://s3.example/x"), Raw(429), Raw(200))
    client = make(script)
    with pytest.raises(Transient):
        client.once(get())
    assert client._gates.at("s3.example").limit == 1
    assert client._gates.at("registry.example").limit is None
    assert client._gates.at("s3.example").under_way == 0


@pytest.mark.parametrize(
    ("status", "headers", "complaint"),
    [
        (429, {}, True),
        (503, {"retry-after": "1"}, True),
        (503, {}, False),
        (500, {"retry-after": "1"}, False),
        (404, {}, False),
    ],
)
def test_what_counts_as_a_complaint(status: int, headers: dict[str, str], complaint: bool) -> None:
    client = make(Script(Raw(status, headers=headers)))
    with pytest.raises((Transient, BundleError)):
        client.once(get())
    assert (client._gates.at("registry.example").limit == 1) is complaint


def test_a_request_that_fails_gives_its_place_back() -> None:
    client = make(Script(BROKEN, Raw(200)))
    client.fetch(get())
    assert client._gates.at("registry.example").under_way == 0


def test_loops_end() -> None:
    script = Script(*[redirect(URL) for _ in range(20)])
    with pytest.raises(Unavailable, match="redirects more than 5 times"):
        make(script).fetch(get())
    assert len(script.sent) == 6


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writes_are_not_redirected(method: str) -> None:
    script = Script(redirect("https://other.example/x"))
    with pytest.raises(Unavailable, match=f"redirects a {method}"):
        make(script).fetch(Request(method, URL, "upload"))
    assert len(script.sent) == 1


# --- login


def test_a_token_is_fetched_kept_and_sent_only_to_the_registry() -> None:
    script = Script(Raw(401, headers=BEARER), token(), Raw(200, b"1"), Raw(200, b"2"))
    client = make(script, login=True)
    assert client.fetch(get(scope="s")).body == b"1"
    assert client.fetch(get(scope="s")).body == b"2"
    assert [sent.url.partition("?")[0] for sent in script.sent] == [URL, "https://auth.example/token", URL, URL]
    assert [sent.headers.get("Authorization", "-").split()[0] for sent in script.sent] == [
        "-",
        "Basic",
        "Bearer",
        "Bearer",
    ]


def test_a_known_registry_is_asked_with_a_token_at_once() -> None:
    script = Script(Raw(401, headers=BEARER), token(), Raw(200), token("two"), Raw(200))
    client = make(script)
    client.fetch(get(scope="s"))
    client.fetch(get(scope="t"))
    assert script.sent[4].headers["Authorization"] == "Bearer two"


def test_a_token_that_dies_in_between_is_renewed_once() -> None:
    script = Script(Raw(401, headers=BEARER), token(), Raw(200), Raw(401, headers=BEARER), token("new"), Raw(200, b"x"))
    client = make(script)
    client.fetch(get(scope="s"))
    assert client.fetch(get(scope="s")).body == b"x"


def test_two_refusals_are_final() -> None:
    script = Script(Raw(401, headers=BEARER), token(), Raw(401, headers=BEARER))
    with pytest.raises(Unauthorized) as caught:
        make(script, login=True).fetch(get())
    assert "refused user 'bob'" in caught.value.message
    assert CANARY not in str(caught.value) + str(caught.value.facts)


def test_basic_logins() -> None:
    script = Script(Raw(401, headers={"www-authenticate": "Basic realm=x"}), Raw(200), Raw(200))
    client = make(script, login=True)
    client.fetch(get())
    client.fetch(get())
    assert ["Authorization" in sent.headers for sent in script.sent] == [False, True, True]


def test_nobody_without_credentials() -> None:
    with pytest.raises(Unauthorized, match="wants a login") as caught:
        make(Script(Raw(401, headers={"www-authenticate": "Basic realm=x"}))).fetch(get())
    assert "login" in (caught.value.hint or "")


def test_a_401_without_a_challenge() -> None:
    with pytest.raises(Unauthorized):
        make(Script(Raw(401))).fetch(get())


def test_a_spent_body_is_not_sent_again_but_the_login_is_fresh() -> None:
    script = Script(Raw(401, headers=BEARER), token(), Raw(201))
    client = make(script)
    request = Request("PUT", URL, "upload", body=iter([b"abc"]), length=3, accept=frozenset([201]))
    with pytest.raises(Transient) as caught:
        client.once(request)
    assert caught.value.cause == "renew"
    again = Request("PUT", URL, "upload", body=iter([b"abc"]), length=3, accept=frozenset([201]))
    with client.once(again) as answer:
        assert answer.status == 201


def test_a_401_from_a_redirect_gets_no_login() -> None:
    script = Script(redirect("https://s3.example/x"), Raw(401, headers=BEARER))
    with pytest.raises(Unauthorized):
        make(script, login=True).fetch(get())
    assert CANARY not in str([sent.headers for sent in script.sent])
    assert len(script.sent) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_server_that_refuses(status: int) -> None:
    with pytest.raises(Unauthorized):
        make(Script(Raw(401, headers=BEARER), Raw(status)), login=True).fetch(get())


@pytest.mark.parametrize("answer", [Raw(404), Raw(200, b"{"), Raw(200, b"[]"), Raw(200, b"{}"), Raw(200, b"<html>")])
def test_a_token_server_that_makes_no_sense_is_not_an_absence(answer: Raw) -> None:
    with pytest.raises(Unavailable):
        make(Script(Raw(401, headers=BEARER), answer)).fetch(get(accept=frozenset([200, 404])))


def stale(status: int = 403, **more: str) -> Raw:
    words = "".join(f',{name}="{value}"' for name, value in more.items())
    return Raw(status, headers={"www-authenticate": BEARER["www-authenticate"] + words})


def tokens_asked(script: Script) -> int:
    return sum("/token" in sent.url for sent in script.sent)


@pytest.mark.parametrize("again", [Raw(403), Raw(401), stale(401), stale(403, error="invalid_token")])
def test_a_token_that_worked_is_renewed_whatever_says_that_it_is_stale(again: Raw) -> None:
    script = Script(Raw(401, headers=BEARER), token(), Raw(200), again, token("new"), Raw(200, b"x"))
    client = make(script, login=True)
    client.fetch(get(scope="s"))
    assert client.fetch(get(scope="s")).body == b"x"


@pytest.mark.parametrize("refusal", [lambda: Raw(403), lambda: Raw(401), lambda: stale(401), lambda: stale(403)])
def test_a_new_token_that_is_refused_is_the_last(refusal: Callable[[], Raw]) -> None:
    script = Script(
        Raw(401, headers=BEARER), token(), Raw(200), refusal(), token("new"), *[refusal() for _ in range(9)]
    )
    client = make(script, login=True)
    client.fetch(get(scope="s"))
    with pytest.raises(Unauthorized):
        client.fetch(get(scope="s"))
    assert tokens_asked(script) == 2
    assert len(script.sent) == 6


def test_a_403_to_nobody_or_to_a_password_is_an_answer() -> None:
    script = Script(Raw(403))
    with pytest.raises(Unauthorized):
        make(script, login=True).fetch(get())
    basic = Script(Raw(401, headers={"www-authenticate": "Basic realm=x"}), Raw(200), Raw(403))
    client = make(basic, login=True)
    client.fetch(get())
    with pytest.raises(Unauthorized):
        client.fetch(get())
    assert (len(script.sent), len(basic.sent)) == (1, 3)


def test_a_scope_that_is_missed_is_asked_for_once() -> None:
    def narrow() -> Raw:
        return stale(error="insufficient_scope", scope="repository:a:pull,delete")

    script = Script(Raw(401, headers=BEARER), token(), narrow(), token("wide"), narrow())
    with pytest.raises(Unauthorized, match="grants no token for repository:a:pull"):
        make(script, login=True).fetch(get(scope="repository:a:pull"))
    assert len(script.sent) == 5
    assert "delete" in script.sent[3].url


@pytest.mark.parametrize("status", [404, 405])
def test_a_token_server_without_oauth(status: int) -> None:
    script = Script(Raw(401, headers=BEARER), Raw(status), token(), Raw(200))
    source = Given("registry.example", Credentials("bob", "", CANARY))
    Client(NetOptions(), credentials=source, transport=script).fetch(get())
    assert [sent.method for sent in script.sent] == ["GET", "POST", "GET", "GET"]
    assert script.sent[2].headers["Authorization"] == Credentials("bob", CANARY).basic
    script = Script(Raw(401, headers=BEARER), Raw(status))
    nobody = Given("registry.example", Credentials("", "", CANARY))
    with pytest.raises(Unavailable, match="takes no identity tokens"):
        Client(NetOptions(), credentials=nobody, transport=script).fetch(get())


def test_an_address_that_expired_is_asked_for_anew() -> None:
    def there(number: int) -> Raw:
        return redirect(f"https://s3.example/x?X-Amz-Signature={number}")

    script = Script(there(1), Raw(403), there(2), Raw(400), there(3), Raw(200, b"x"))
    assert make(script).fetch(get()).body == b"x"
    script = Script(*[raw for number in range(9) for raw in (there(number), Raw(403))])
    with pytest.raises(Unauthorized) as caught:
        make(script).fetch(get())
    assert "clocks" in (caught.value.hint or "")
    assert len(script.sent) == 6


def test_a_huge_token_is_refused() -> None:
    with pytest.raises(BundleError):
        make(Script(Raw(401, headers=BEARER), Raw(200, bytes(300_000)))).fetch(get())


def test_requests_without_scope_log_nobody_in() -> None:
    script = Script(Raw(401, headers=BEARER))
    with pytest.raises(Unauthorized):
        make(script, login=True).fetch(get(scope=None))
    assert len(script.sent) == 1


def test_workers_share_one_login() -> None:
    count = 8
    gate = threading.Barrier(count)

    def refuse(sent: Sent) -> Raw:
        gate.wait(10)
        return Raw(401, headers=BEARER)

    class Pool(Script):
        """Everybody is refused at the same moment; afterwards tokens and answers as asked."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens = 0

        def send(self, method: str, url: str, headers: Mapping[str, str], body: object, patience: float = 0.0) -> Raw:
            if "/token" in url:
                self.tokens += 1
                return token()
            return Raw(200) if "Authorization" in headers else refuse(Sent(method, url, headers, None))

    pool = Pool()
    client = make(pool)
    threads = [threading.Thread(target=client.fetch, args=(get(scope="s"),)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert pool.tokens == 1


# --- life


def test_closing_and_aborting_reach_the_sender() -> None:
    script = Script()
    with make(script) as client:
        client.abort()
    assert (script.aborted, script.closed) == (True, True)
    with Client() as unused:
        unused.abort()
