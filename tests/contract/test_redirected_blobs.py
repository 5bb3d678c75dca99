"""Blobs that a registry keeps at an object store, behind signed addresses that expire (facts: OCI §3, "redirects")."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelops_bundle.errors import Unauthorized
from modelops_bundle.events import Event, Run
from modelops_bundle.model.ports import ANYTHING
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Credentials, Given
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing.store_contract import describe, make_manifest, read
from modelops_bundle.transfer import receive, segments, staging
from modelops_bundle.transfer.staging import Staging
from tests.support.blob_front import BlobFront
from tests.support.bundle import Bundle, call
from tests.support.canary import printed, secret
from tests.support.registry_process import ProcessRegistry, Unobtainable
from tests.support.token_server import TokenServer, registry_with_tokens
from tests.support.wide import EagerHosts

pytestmark = pytest.mark.registry

DATA = os.urandom(2 * 1024 * 1024)
BLOB = describe(DATA)


@dataclass
class Behind:
    """A registry, and how it is logged in to: by us, and by its object store."""

    registry: ProcessRegistry
    kind: str
    login: Callable[[str, str], str]
    """Of a user's password and a path, the `Authorization` to read it."""
    allow: Callable[[str], None]
    """Let `bob` in with this password."""


def bcrypt(password: str) -> str:
    """As `htpasswd -B` writes it."""
    name = ctypes.util.find_library("crypt")
    if name is None:
        pytest.skip("no libcrypt")
    library = ctypes.CDLL(name)
    library.crypt.restype = ctypes.c_char_p
    made = library.crypt(password.encode(), b"$2b$04$" + b"abcdefghijklmnopqrstuu")
    if not made or not made.startswith(b"$2"):
        pytest.skip("libcrypt knows no bcrypt")
    return str(made.decode()).replace("$2b$", "$2y$")


@pytest.fixture(scope="module", params=["basic", "bearer"])
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    where = tmp_path_factory.mktemp("front")
    try:
        if request.param == "bearer":
            with registry_with_tokens(where) as (registry, tokens):
                yield Behind(
                    registry, "bearer", lambda _, path: _minted(tokens, path), lambda word: _known(tokens, word)
                )
            return
        users = where / "htpasswd"
        users.write_text("")
        auth = {"auth": {"htpasswd": {"realm": "tests", "path": str(users)}}}
        users.write_text(f"bob:{bcrypt('unknown yet')}\n")
        registry = ProcessRegistry(where / "registry", auth)
        try:
            yield Behind(
                registry,
                "basic",
                lambda word, _: Credentials("bob", word).basic,
                lambda word: _written(users, word),
            )
        finally:
            registry.stop()
    except Unobtainable as error:
        pytest.skip(str(error))


def _known(tokens: TokenServer, password: str) -> None:
    tokens.users = {"bob": (password, {"team/*": "pull,push"})}


def _minted(tokens: TokenServer, path: str) -> str:
    name = path.removeprefix("/v2/").partition("/blobs/")[0]
    _, document = tokens.answer(
        "GET", f"/token?scope=repository:{name}:pull", Credentials("bob", tokens.users["bob"][0]).basic, b""
    )
    return f"Bearer {document['token']}"


def _written(users: Path, password: str) -> None:
    # The registry reads the file again when its time changed.
    before = users.stat().st_mtime_ns
    users.write_text(f"bob:{bcrypt(password)}\n")
    os.utime(users, ns=(before + 2_000_000_000, before + 2_000_000_000))


class World:
    """What tests use: the front, and a client that is logged in."""

    def __init__(self, behind: Behind, front: BlobFront, password: str) -> None:
        self.behind, self.front, self.password = behind, front, password
        self.events: list[Event] = []

    def client(self) -> Client:
        source = Given(self.front.host, Credentials("bob", self.password))
        return Client(credentials=source, run=Run(emit=self.events.append), policy=Policy(base=0.001))

    def store(self, client: Client) -> RegistryStore:
        return RegistryStore(client, self.front.host, "team/model")

    def check(self, *statuses: int) -> None:
        """What the object store answered; no login came with any request, and no signature got anywhere."""
        assert [one.status for one in self.front.seen] == list(statuses)
        self.check_logins()

    def check_logins(self) -> None:
        for one in self.front.seen:
            assert not {"authorization", "cookie", "proxy-authorization"} & set(one.headers)
            assert not printed(repr(one.headers).encode())
        assert not printed(repr(self.events).encode()), "a signature, a cookie or a password is in an event"


@pytest.fixture
def world(behind: Behind) -> Iterator[World]:
    password = secret()
    behind.allow(password)
    with BlobFront(behind.registry.host, lambda path: behind.login(password, path)) as front:
        made = World(behind, front, password)
        with made.client() as client:
            store = made.store(client)
            what, manifest = make_manifest(store, DATA)
            store.tag("v1", what, manifest, ANYTHING)
        yield made


def test_a_pull_follows_without_the_login(world: World) -> None:
    with world.client() as client:
        assert world.store(client).resolve("v1") is not None
        assert read(world.store(client), BLOB) == DATA
    world.check(200)
    assert world.front.redirected == 1


def test_ranges_travel_along(world: World) -> None:
    with world.client() as client:
        assert read(world.store(client), BLOB, 5, 10) == DATA[5:10]
        assert read(world.store(client), BLOB, 1_000_000) == DATA[1_000_000:]
    world.check(206, 206)
    assert [one.headers["range"] for one in world.front.seen] == ["bytes=5-9", f"bytes=1000000-{len(DATA) - 1}"]


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Staging:
    for module, name, value in (
        (staging, "SMALL", 1000),
        (receive, "SPLIT", 128 * 1024),
        (segments, "SEGMENT", 256 * 1024),
        (segments, "SMALLEST", 128 * 1024),
    ):
        monkeypatch.setattr(module, name, value)
    return Staging(tmp_path / "parts", EagerHosts(4))


@pytest.mark.parametrize("stillborn", [0, 2])
def test_several_ranges_at_a_time(world: World, in_parts: Staging, stillborn: int) -> None:
    world.front.stillborn = stillborn
    with world.client() as client:
        in_parts.fetch(BLOB, world.store(client), Run(), lambda _: None)
    assert in_parts.path(BLOB.digest).read_bytes() == DATA
    assert [one.status for one in world.front.seen].count(403) == stillborn
    assert {one.status for one in world.front.seen} <= {200, 206, 403}
    world.check_logins()


def test_an_expired_address_is_asked_for_anew(world: World) -> None:
    world.front.stillborn = 2
    with world.client() as client:
        assert read(world.store(client), BLOB) == DATA
    world.check(403, 403, 200)
    assert len({one.path for one in world.front.seen}) == 3, "each time a new signature"


def test_addresses_that_are_never_good_are_an_error(world: World) -> None:
    world.front.stillborn = 1000
    with world.client() as client, pytest.raises(Unauthorized) as caught:
        read(world.store(client), BLOB)
    assert caught.value.exit_code == 7
    world.check(403, 403, 403)
    assert not printed(str(caught.value.facts).encode(), caught.value.message.encode())
    assert "login" not in (caught.value.hint or ""), "our login was good"


def test_the_store_really_refuses_a_login(world: World) -> None:
    """The control: what a client would get that sends its login along."""
    import urllib.error
    import urllib.request

    path = f"/v2/team/model/blobs/{BLOB.digest}"
    login = world.behind.login(world.password, path)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://{world.front.host}{path}"
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(urllib.request.Request(url, headers={"Authorization": login}))
    assert caught.value.code == 400
    caught.value.close()


@pytest.mark.parametrize("words", [(), ("-v",), ("--progress", "json"), ("--json",)], ids=" ".join)
def test_a_clone_shows_no_signature(
    world: World, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    (home / ".docker").mkdir()
    auth = Credentials("bob", world.password).basic.removeprefix("Basic ")
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {world.front.host: {"auth": auth}}}))
    (home / ".docker" / "config.json").chmod(0o600)
    files = {"weights.bin": os.urandom(3_000_000), "a.txt": b"a\n"}
    Bundle.create(tmp_path / "a", f"{world.front.host}/team/cli-{os.urandom(4).hex()}", files)
    Bundle(tmp_path / "a").push()
    remote = Bundle(tmp_path / "a").json("inspect")["reference"]
    world.front.stillborn = 1
    # `call` fails when a secret is in what is printed, and the plugin when one is in a file.
    result = call(*words, "clone", str(remote).partition("@")[0], str(tmp_path / "b"))
    assert Bundle(tmp_path / "b").tree() == Bundle(tmp_path / "a").tree()
    assert world.front.seen
    world.check_logins()
    if words in (("-v",), ("--progress", "json")):
        assert "X-Amz-Signature=***" in result.err
