"""A registry that is broken or hostile, as a user of the command line meets it (facts: reliability §3.3, §3.5, §4 R2, R5 to R8)."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelops_bundle.testing import actions
from modelops_bundle.testing.actions import Action
from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.registry import Match
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, Result, call, spawn
from tests.support.canary import secret
from tests.support.oci import Forged, Repository, dumps, titled

LARGE = os.urandom(1_500_000)
FILES = {"weights.bin": LARGE, "readme.md": b"good\n"}


def on(methods: str, part: str) -> Match:
    return lambda method, path: method in methods.split() and part in path


@dataclass
class Login:
    """The registry wants one, and everybody here has it."""

    registry: Fake
    password: str

    @property
    def stale(self) -> Action:
        """What it says to a token that died."""
        words = f'Bearer realm="{self.registry.url}/token",service="in-process",error="invalid_token"'
        return actions.Status(401, {"WWW-Authenticate": words})


@pytest.fixture
def login(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Login:
    password = secret()
    fake.require_auth("bob", password)
    fake.habits.single_post = False
    monkeypatch.setenv("BUNDLE_USERNAME", "bob")
    monkeypatch.setenv("BUNDLE_PASSWORD", password)
    return Login(fake, password)


# --- twelve faults that pass, on the way down and on the way up

Fault = tuple[Match, Callable[[Login], Action], int]


def fault(methods: str, part: str, action: Action, times: int = 1) -> Fault:
    return on(methods, part), lambda _: action, times


DOWN: dict[str, Fault] = {
    "500 twice": fault("GET", "/blobs/", actions.Status(500), 2),
    "503 with Retry-After": fault("GET", "/manifests/", actions.Status(503, {"Retry-After": "0"})),
    "429 with Retry-After": fault("GET", "/blobs/", actions.Status(429, {"Retry-After": "0"})),
    "cut": fault("GET", "/blobs/", actions.Cut(700_000)),
    "reset of a blob": fault("GET", "/blobs/", actions.Reset(), 2),
    "reset of a manifest": fault("GET", "/manifests/", actions.Cut(10, reset=True), 2),
    "401 once": (on("GET", "/blobs/"), lambda login: login.stale, 1),
    "corrupt once": fault("GET", "/blobs/", actions.Corrupt(5)),
    "404 once": fault("GET", "/blobs/", actions.Refuse(404, "BLOB_UNKNOWN")),
    "502 five times": fault("GET", "/blobs/", actions.Status(502), 5),
    "garbage for a blob": fault("GET", "/blobs/", actions.Body(b"\x00garbage")),
    "garbage for a manifest": fault("GET", "/manifests/", actions.Body(b"\x00garbage")),
}
UP: dict[str, Fault] = {
    "500 twice": fault("POST", "/blobs/", actions.Status(500), 2),
    "503 with Retry-After": fault("PUT", "/manifests/", actions.Status(503, {"Retry-After": "0"})),
    "429 with Retry-After": fault("PUT PATCH", "/blobs/", actions.Status(429, {"Retry-After": "0"})),
    "cut": fault("PUT PATCH", "/blobs/", actions.CutUpload(3)),
    "reset of a blob": fault("PUT PATCH", "/blobs/", actions.Reset(), 2),
    "reset of a manifest, done": fault("PUT", "/manifests/", actions.Reset(done=True)),
    "401 once": (on("PUT PATCH", "/blobs/"), lambda login: login.stale, 1),
    "corrupt once": fault("PUT", "/blobs/", actions.Refuse(400, "DIGEST_INVALID")),
    "404 once": fault("PUT", "/blobs/", actions.Refuse(404, "BLOB_UPLOAD_UNKNOWN")),
    "502 five times": fault("PUT", "/manifests/", actions.Status(502), 5),
    "garbage for a blob": fault("PUT PATCH", "/blobs/", actions.Html()),
    "garbage for a manifest": fault("PUT", "/manifests/", actions.Html()),
}


def test_there_are_twelve_of_each() -> None:
    assert (len(DOWN), len(UP)) == (12, 12)


@pytest.mark.parametrize("name", DOWN)
def test_a_pull_survives(fake: Fake, login: Login, tmp_path: Path, name: str) -> None:
    Bundle.create(tmp_path / "a", f"{fake.host}/m", FILES).push()
    match, action, times = DOWN[name]
    order = fake.fault(match, action(login), times)
    call("clone", f"{fake.host}/m", str(tmp_path / "b"))
    assert order.used == times
    assert Bundle(tmp_path / "b").tree() == Bundle(tmp_path / "a").tree()


@pytest.mark.parametrize("name", UP)
def test_a_push_survives(fake: Fake, login: Login, tmp_path: Path, name: str) -> None:
    made = Bundle.create(tmp_path / "a", f"{fake.host}/m", FILES)
    match, action, times = UP[name]
    order = fake.fault(match, action(login), times)
    made.push()
    assert order.used == times
    fake.heal()
    call("clone", f"{fake.host}/m", str(tmp_path / "b"))
    assert Bundle(tmp_path / "b").tree() == made.tree()


# --- what costs memory, time or requests

MEMORY = 100 * 1024
"""Most KiB that a command may ever hold (DESIGN §1.5)."""
REQUESTS = 30

_MEASURE = """
import atexit
def measure():
    with open("/proc/self/status") as status, open({path!r}, "w") as out:
        out.write(next(line for line in status if line.startswith("VmHWM")).split()[1])
atexit.register(measure)
"""


class EndlessRefusal(Action):
    """An error whose body has no end."""

    def __init__(self, status: int) -> None:
        self._status = status

    def before(self, call: Call) -> Call | Response:
        return Response(self._status, {"Content-Type": "application/json"}, b'{"errors": [', endless=True)


def deep(levels: int = 200_000) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def bomb() -> Action:
    """300 KB that unpack to 300 MiB."""

    class Bomb(Action):
        def after(self, call: Call, response: Response) -> Response:
            headers = {**response.headers, "Content-Encoding": "gzip"}
            return Response(200, headers, gzip.compress(b"{" + bytes(300 * 1024 * 1024), 1))

    return Bomb()


EXPENSIVE: dict[str, tuple[Match, Callable[[], Action], tuple[int, ...]]] = {
    "a manifest of 100 MiB": (on("GET", "/manifests/"), lambda: actions.Body(b"{" + b" " * (100 << 20)), (9,)),
    "an endless manifest": (on("GET", "/manifests/"), actions.Endless, (9,)),
    "a compressed manifest": (on("GET", "/manifests/"), bomb, (9,)),
    "a deep manifest": (on("GET", "/manifests/"), lambda: actions.Body(deep()), (9,)),
    "an endless blob": (on("GET", "/blobs/"), actions.Endless, (8, 9)),
    "a compressed blob": (on("GET", "/blobs/"), bomb, (9,)),
    "an endless refusal": (on("GET HEAD", "/manifests/"), lambda: EndlessRefusal(403), (7,)),
    "an endless challenge": (on("GET HEAD", "/manifests/"), lambda: EndlessRefusal(401), (7,)),
    "a deep refusal": (on("GET HEAD", "/manifests/"), lambda: actions.Status(403, {}, deep(1500)), (7,)),
    "an endless token": (on("GET", "/token"), actions.Endless, (8,)),
    "a deep token": (on("GET", "/token"), lambda: actions.Body(deep(20_000)), (8,)),
    "a token of a megabyte": (on("GET", "/token"), lambda: actions.Body(b"{" + b" " * (1 << 20)), (8,)),
    "a redirect in a circle": (on("GET HEAD", "/manifests/"), lambda: actions.Redirect("{target}"), (8,)),
    "blobs in a circle": (on("GET", "/blobs/"), lambda: actions.Redirect("{target}"), (8,)),
    "come back tomorrow": (on("GET HEAD", "/"), lambda: actions.Status(429, {"Retry-After": "100000"}), (8,)),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_what_is_expensive_is_bounded(fake: Fake, login: Login, tmp_path: Path, name: str) -> None:
    Bundle.create(tmp_path / "a", f"{fake.host}/m", FILES).push()
    match, action, codes = EXPENSIVE[name]
    fake.expire_tokens()
    order = fake.fault(match, action(), times=None)
    fake.requests.clear()
    measured = tmp_path / "measured"
    words = ("--json", "clone", f"{fake.host}/m", str(tmp_path / "b"))
    result = spawn(*words, expect=None, before=_MEASURE.format(path=str(measured)))
    assert result.code in codes, result
    assert result.error["message"]
    assert order.used
    assert int(measured.read_text()) < MEMORY
    assert len(fake.requests) < REQUESTS
    assert not (tmp_path / "b").exists() or Bundle(tmp_path / "b").tree() == {}


# --- where bytes are said to be

_IDENTITY = {"basic": "auth", "bearer": "auth", "identity": "identitytoken"}


@pytest.mark.parametrize("kind", _IDENTITY)
def test_addresses_in_a_manifest_are_not_asked(fake: Fake, tmp_path: Path, home: Path, kind: str) -> None:
    """Foreign layers: `urls` (image-spec, "Descriptors") are for content that its registry does not have."""
    import base64

    password, refresh = secret(), secret("refresh")
    value = refresh if kind == "identity" else base64.b64encode(f"bob:{password}".encode()).decode()
    with Fake() as elsewhere:
        forged = titled([("readme.md", b"good\n"), ("more.md", b"more\n")])
        manifest = json.loads(forged.manifest)
        for layer in manifest["layers"]:
            layer["urls"] = [f"{elsewhere.url}/{layer['digest']}"]
        Repository(f"{fake.host}/m").publish("latest", Forged(dumps(manifest), forged.blobs))
        fake.require_auth("bob", password, basic=kind == "basic", identity_token=refresh)
        config = home / ".docker" / "config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"auths": {fake.host: {_IDENTITY[kind]: value}}}))
        config.chmod(0o600)
        call("clone", f"{fake.host}/m", str(tmp_path / "b"))
        assert (tmp_path / "b" / "more.md").read_text() == "more\n"
        del fake.repositories["m"].blobs[manifest["layers"][1]["digest"]]
        call("clone", f"{fake.host}/m", str(tmp_path / "c"), expect=6)
        assert elsewhere.requests == []


# --- words

EVIL = "\x1b]0;owned\x07\x1b[31m\u202egpj\u2066\x9b2J\r\x00\u2028"
_STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\u200e\u200f]")


def refusing(status: int) -> Action:
    body = json.dumps({"errors": [{"code": EVIL, "message": EVIL, "detail": {"digest": EVIL}}]}).encode()
    return actions.Status(status, {"Content-Type": "application/json"}, body)


HEADER = "\x1b[31m\x07\x9b2J"
WORDS: dict[str, Action] = {
    "a refusal": refusing(403),
    "a failure": refusing(400),
    "something unexpected": refusing(418),
    "a way of logging in": actions.Status(401, {"WWW-Authenticate": f"{HEADER}, Negotiate{HEADER}"}),
    "a realm": actions.Status(401, {"WWW-Authenticate": f'Bearer realm="https://e{HEADER}.example/"'}),
    "a service": actions.Status(401, {"WWW-Authenticate": f'Bearer realm="https://a.example/",service="{HEADER}"'}),
    "a scope": actions.Status(403, {"WWW-Authenticate": f'Bearer realm="https://a.example/",scope="{HEADER}"'}),
    "a redirect": actions.Redirect(f"http://e{HEADER}.example/"),
    "a digest": actions.Headers({"Docker-Content-Digest": f"sha256:{HEADER}"}),
    "a media type": actions.Headers({"Content-Type": f"application/{HEADER}"}),
    "a manifest": actions.Body(EVIL.encode()),
    "names of tags": actions.Body(json.dumps({"name": EVIL, "tags": [EVIL, "good", f"x{EVIL}"]}).encode()),
}


def check(result: Result) -> None:
    assert not _STEERING.search(result.text), repr(result.text)
    assert "Traceback" not in result.text


@pytest.mark.parametrize("name", WORDS)
def test_hostile_words_reach_no_terminal(fake: Fake, tmp_path: Path, name: str) -> None:
    made = Bundle.create(tmp_path / "a", f"{fake.host}/m", FILES)
    made.push()
    order = fake.fault(lambda *_: True, WORDS[name], times=None)
    for words in (("pull",), ("tags",), ("ls", ":latest"), ("clone", f"{fake.host}/m", str(tmp_path / "b"))):
        for how in ((), ("-v",), ("--progress", "json"), ("--json",)):
            result = made.run(*how, *words, expect=None)
            check(result)
            if how == ("--json",):
                assert isinstance(result.json, dict)
    assert order.used


def test_the_rule_sees_a_control_character() -> None:
    assert _STEERING.search(EVIL) and _STEERING.search(HEADER)
    assert not _STEERING.search("error: what happened\n\nhint: what to do\n")
