"""Tokens against a registry that checks them: `docker-registry` and a token server (facts: OCI §3, "auth")."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from modelops_bundle.errors import BundleError, Unauthorized, Unavailable
from modelops_bundle.events import Event, Requested, Retrying, Run
from modelops_bundle.model.ports import ANYTHING
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Anonymous, Credentials, CredentialSource, Given
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores import registries
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing.contents import InFile
from modelops_bundle.testing.store_contract import describe, make_manifest, put, read
from tests.support.bundle import Bundle, call
from tests.support.canary import secret
from tests.support.fault_proxy import ALWAYS, Action, Call, Close, FaultProxy, Status, Where
from tests.support.http_wire import Head
from tests.support.registry_process import ProcessRegistry, Unobtainable
from tests.support.token_server import SERVICE, Signer, TokenServer, registry_with_tokens

PART = 1024 * 1024
DATA = os.urandom(5 * PART)
WHAT = describe(DATA)

pytestmark = pytest.mark.registry


@dataclass(frozen=True)
class Late(Action):
    """Requests with the token `before` have the token `after` instead."""

    before: str
    after: str

    def ask(self, asked: Head) -> Head:
        same = asked.fields.get("authorization") == f"Bearer {self.before}"
        return asked.having(authorization=f"Bearer {self.after}") if same else asked


class Death(Action):
    """The newest token dies, for the request that is about to go on as well."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ask(self, asked: Head) -> Head:
        return self._world.die().ask(asked)


class World:
    """A registry that wants tokens, a token server, a proxy before the registry, and users."""

    def __init__(self, registry: ProcessRegistry, tokens: TokenServer, proxy: FaultProxy) -> None:
        self.registry, self.tokens, self.proxy = registry, tokens, proxy
        self.password, self.reader, self.refresh = secret(), secret(), secret("refresh")
        tokens.users = {
            "bob": (self.password, {"team/*": "pull,push"}),
            "eve": (self.reader, {"team/*": "pull"}),
        }
        tokens.refresh_tokens = {self.refresh: "bob"}
        tokens.anonymous = {"team/public": "pull"}
        self.bob = Given(proxy.host, Credentials("bob", self.password))
        self.eve = Given(proxy.host, Credentials("eve", self.reader))
        self.events: list[Event] = []

    def client(self, who: CredentialSource | None = None) -> Client:
        return Client(credentials=who or self.bob, run=Run(emit=self.events.append), policy=Policy(base=0.001))

    def store(self, client: Client, name: str = "team/model", journal: Path | None = None) -> RegistryStore:
        return RegistryStore(client, self.proxy.host, name, journal)

    def wait_for_death(self, token: str) -> None:
        """Ask the registry until it takes `token` no more."""
        request = urllib.request.Request(f"{self.registry.url}/v2/", headers={"Authorization": f"Bearer {token}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        pause = threading.Event()
        while True:
            try:
                with opener.open(request, timeout=10):
                    pause.wait(0.05)
            except urllib.error.HTTPError as error:
                error.close()
                assert error.code == 401
                return

    def die(self) -> Late:
        """The newest token is long past its time: the registry gets it as it is then, and says so."""
        token = self.tokens.granted[-1]
        late = self.tokens.expired(token)
        self.wait_for_death(late)
        found = Late(token, late)
        self.proxy.fault(Where(), found, times=ALWAYS)
        return found

    def until_death(self) -> Call:
        """Hold what goes through until the newest token, one that lives for seconds only, is dead."""
        return Call(lambda: self.wait_for_death(self.tokens.granted[-1]))

    def statuses(self, method: str) -> list[int]:
        return [event.status for event in self.events if isinstance(event, Requested) and event.method == method]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ProcessRegistry, TokenServer]]:
    try:
        with registry_with_tokens(tmp_path_factory.mktemp("tokens")) as both:
            yield both
    except Unobtainable as error:
        pytest.skip(str(error))


@pytest.fixture
def world(servers: tuple[ProcessRegistry, TokenServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    registry, tokens = servers
    tokens.asked.clear()
    tokens.granted.clear()
    tokens.faults.clear()
    tokens.said, tokens.dying, tokens.names, tokens.posts, tokens.withheld = 3600, 0, ("token",), 200, frozenset()
    monkeypatch.setattr(registries, "DISTRIBUTION", replace(registries.DISTRIBUTION, part=PART, parts_from=2 * PART))
    with FaultProxy(registry.host) as proxy:
        yield World(registry, tokens, proxy)


def fresh_bytes(size: int = 2000) -> bytes:
    return os.urandom(size)


def publish(world: World, name: str, data: bytes) -> None:
    with world.client() as client:
        store = world.store(client, name)
        what, manifest = make_manifest(store, data)
        store.tag("v1", what, manifest, ANYTHING)
    world.tokens.asked.clear()


# --- who may do what


@pytest.mark.parametrize("by", ["x5c", "kid"])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_every_kind_of_signature(tmp_path: Path, algorithm: str, by: str) -> None:
    try:
        with registry_with_tokens(tmp_path, Signer(algorithm, by)) as (registry, tokens):
            password = secret()
            tokens.users = {"bob": (password, {"*": "pull,push"})}
            with Client(credentials=Given(registry.host, Credentials("bob", password))) as client:
                store = RegistryStore(client, registry.host, "team/model")
                assert read(store, put(store, b"signed")) == b"signed"
    except Unobtainable as error:
        pytest.skip(str(error))


def test_anybody_pulls_what_is_public(world: World) -> None:
    data = fresh_bytes()
    publish(world, "team/public", data)
    with world.client(Anonymous()) as client:
        store = world.store(client, "team/public")
        assert store.resolve("v1") is not None
        assert read(store, describe(data)) == data
        with pytest.raises(Unauthorized, match="wants a login"):
            put(store, fresh_bytes())
        with pytest.raises(Unauthorized, match="wants a login"):
            world.store(client, "team/private").resolve("v1")
    assert world.tokens.asked[0].user is None
    assert world.tokens.asked[0].scopes == ["repository:team/public:pull"]


def test_a_token_serves_for_everything_it_allows(world: World) -> None:
    data = fresh_bytes()
    with world.client() as client:
        store = world.store(client)
        what, manifest = make_manifest(store, data)
        store.tag("v1", what, manifest, ANYTHING)
        assert store.resolve("v1") == what
        assert read(store, describe(data)) == data
    assert [one.scopes for one in world.tokens.asked] == [["repository:team/model:pull,push"]]
    assert world.tokens.asked[0].fields["service"] == [SERVICE]


def test_a_mount_asks_for_both_repositories_at_once(world: World) -> None:
    data = fresh_bytes()
    publish(world, "team/base", data)
    with world.client() as client:
        assert world.store(client).mount(describe(data), iter(()), ["team/base"]) is True
        put(world.store(client), fresh_bytes())
    assert [sorted(one.scopes) for one in world.tokens.asked] == [
        ["repository:team/base:pull", "repository:team/model:pull,push"]
    ]


def test_a_mount_that_is_not_allowed_costs_an_upload(world: World) -> None:
    data = fresh_bytes()
    with world.client() as client:
        assert world.store(client).mount(describe(data), [data], ["secret/base"]) is False
        assert read(world.store(client), describe(data)) == data


@pytest.mark.parametrize("data", [fresh_bytes(), DATA], ids=["small", "large"])
def test_a_token_for_less_than_was_asked_is_an_error_and_no_loop(world: World, data: bytes, tmp_path: Path) -> None:
    with world.client(world.eve) as client:
        with pytest.raises(Unauthorized, match=r"'eve'.*no token for repository:team/model:pull,push") as caught:
            world.store(client, "team/model").put(describe(data), InFile(tmp_path / "f", data))
    assert caught.value.exit_code == 7
    assert len(world.tokens.asked) <= 3
    assert len(world.proxy.counts.asked) <= 6


def test_a_wrong_password_is_sent_once(world: World) -> None:
    with world.client(Given(world.proxy.host, Credentials("bob", secret()))) as client:
        with pytest.raises(Unauthorized, match="refused user 'bob'") as caught:
            world.store(client).resolve("v1")
    assert caught.value.exit_code == 7
    assert [one.status for one in world.tokens.asked] == [401]


def test_workers_with_a_wrong_password_send_it_once(world: World) -> None:
    workers = 8
    gate = threading.Barrier(workers)
    refused: list[int] = []
    with world.client(Given(world.proxy.host, Credentials("bob", secret()))) as client:
        store = world.store(client)

        def work() -> None:
            gate.wait(30)
            try:
                store.resolve("v1")
            except Unauthorized as error:
                refused.append(error.exit_code)

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert refused == [7] * workers
    assert len(world.tokens.asked) == 1


def test_a_reader_who_pushes(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command line: exit 7, who it was and what is missing."""
    monkeypatch.setenv("BUNDLE_USERNAME", "eve")
    monkeypatch.setenv("BUNDLE_PASSWORD", world.reader)
    made = Bundle.create(tmp_path / "a", f"{world.proxy.host}/team/eves", {"a.txt": "a\n"})
    error = made.refused(7, "push")
    assert error["code"] == "unauthorized"
    assert "'eve'" in error["message"] and "repository:team/eves:pull,push" in error["message"]
    assert "rights" in error["hint"]
    assert len(world.tokens.asked) <= 4


def test_workers_ask_for_one_token(world: World) -> None:
    data = fresh_bytes()
    publish(world, "team/model", data)
    workers = 8
    gate = threading.Barrier(workers)
    got: list[bytes] = []
    with world.client() as client:
        store = world.store(client)

        def work() -> None:
            gate.wait(30)
            got.append(read(store, describe(data)))

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert got == [data] * workers
    assert len(world.tokens.asked) == 1


@pytest.mark.parametrize("said", [None, 0, -5, 10**30, "300", "soon", [], True, 1e-9], ids=repr)
def test_any_life_that_a_server_says(world: World, said: object) -> None:
    world.tokens.said = said
    with world.client() as client:
        store = world.store(client)
        data = fresh_bytes()
        assert read(store, put(store, data)) == data
    # Nothing readable means a minute; the life of a moment means a token for each request.
    assert (len(world.tokens.asked) == 1) is (said != 1e-9)


@pytest.mark.parametrize("names", [("token",), ("access_token",), ("access_token", "token")])
def test_both_names_of_a_token(world: World, names: tuple[str, ...]) -> None:
    world.tokens.names = names
    with world.client() as client:
        assert put(world.store(client), fresh_bytes())


# --- identity tokens


def test_an_identity_token_is_posted_and_nothing_else(world: World) -> None:
    with world.client(Given(world.proxy.host, Credentials("", "", world.refresh))) as client:
        store = world.store(client)
        data = fresh_bytes()
        assert read(store, put(store, data)) == data
    [asked] = world.tokens.asked
    assert (asked.method, asked.user, asked.target) == ("POST", "bob", "/token")
    assert asked.fields["grant_type"] == ["refresh_token"]
    assert asked.fields["client_id"] == ["modelops-bundle"]
    assert asked.fields["service"] == [SERVICE]


@pytest.mark.parametrize("status", [404, 405])
def test_a_token_server_without_post_is_asked_as_the_user(world: World, status: int) -> None:
    world.tokens.posts = status
    with world.client(Given(world.proxy.host, Credentials("bob", "", world.refresh))) as client:
        assert put(world.store(client), fresh_bytes())
    assert [one.method for one in world.tokens.asked] == ["POST", "GET"]
    world.tokens.asked.clear()
    with world.client(Given(world.proxy.host, Credentials("", "", world.refresh))) as client:
        with pytest.raises(Unavailable, match="takes no identity tokens"):
            put(world.store(client), fresh_bytes())
    assert [one.method for one in world.tokens.asked] == ["POST"]


def test_an_identity_token_that_is_good_no_more(world: World) -> None:
    with world.client(Given(world.proxy.host, Credentials("bob", "", secret("refresh")))) as client:
        with pytest.raises(Unauthorized, match="refused user 'bob'"):
            put(world.store(client), fresh_bytes())
    assert [one.status for one in world.tokens.asked] == [401]


def test_an_identity_token_of_dockers_file(world: World, tmp_path: Path, home: Path) -> None:
    auths = {"auths": {world.proxy.host: {"identitytoken": world.refresh}}}
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps(auths))
    (home / ".docker" / "config.json").chmod(0o600)
    made = Bundle.create(tmp_path / "a", f"{world.proxy.host}/team/cli", {"a.txt": "a\n"})
    made.push()
    call("clone", f"{world.proxy.host}/team/cli", str(tmp_path / "b"))
    assert (tmp_path / "b" / "a.txt").read_text() == "a\n"
    assert {one.method for one in world.tokens.asked} == {"POST"}


# --- tokens that die on the way


def parts(method: str = "PATCH", nth: int = 1) -> Where:
    return Where(method, "upload", nth=nth)


def test_a_long_upload_in_parts_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    """The token dies in the second part: the third is refused, and sent again with a new one."""
    data = os.urandom(5 * PART)
    world.tokens.dying = 1
    held = world.proxy.fault(parts(), world.until_death(), at=PART + PART // 2, towards="up")
    with world.client() as client:
        store = world.store(client)
        store.put(describe(data), InFile(tmp_path / "f", data))
        assert held.used == 1
        assert 401 in world.statuses("PATCH")
        assert len([one for one in world.statuses("PATCH") if one == 202]) == len(data) // PART
        assert world.proxy.counts.up() <= len(data) + PART
        assert read(store, describe(data)) == data
    assert len(world.tokens.granted) == 2


def test_tokens_that_die_in_every_part(world: World, tmp_path: Path) -> None:
    """More logins than a request has attempts: what counts is that the upload gets on."""
    data = os.urandom(4 * PART)
    # Every second one is refused and comes again.
    held = [world.proxy.fault(parts(nth=nth), Call(world.die), at=PART // 2, towards="up") for nth in (1, 3, 5)]
    with Client(credentials=world.bob, policy=Policy(base=0.001, renew=2)) as client:
        store = world.store(client)
        store.put(describe(data), InFile(tmp_path / "f", data))
        assert read(store, describe(data)) == data
    assert [rule.used for rule in held] == [1, 1, 1]
    assert len(world.tokens.granted) == 4


def test_a_single_put_is_sent_again(world: World, tmp_path: Path) -> None:
    data = os.urandom(2 * PART - 1)
    held = world.proxy.fault(Where("PUT", "upload"), Death(world))
    with world.client() as client:
        store = world.store(client)
        store.put(describe(data), InFile(tmp_path / "f", data))
        assert read(store, describe(data)) == data
    assert held.used == 1
    assert world.statuses("PUT") == [401, 201]


def test_a_pull_goes_on(world: World) -> None:
    publish(world, "team/model", DATA)
    world.tokens.dying = 1

    class CutWhenDead(Close):
        def strike(self, rest: bytes) -> bytes:
            world.wait_for_death(world.tokens.granted[-1])
            return super().strike(rest)

    held = world.proxy.fault(Where("GET", "blob"), CutWhenDead(), at=2 * PART)
    with world.client() as client:
        assert read(world.store(client), WHAT) == DATA
    assert held.used == 1
    assert world.proxy.counts.down() <= len(DATA) + PART, "it went on where it was cut"
    assert 401 in world.statuses("GET")[1:]


def test_between_the_blobs_and_the_manifest(world: World) -> None:
    held = world.proxy.fault(Where("PUT", "manifest"), Death(world))
    with world.client() as client:
        store = world.store(client)
        what, manifest = make_manifest(store, fresh_bytes())
        store.tag("v1", what, manifest, ANYTHING)
        assert store.resolve("v1") == what
    assert held.used == 1
    assert world.statuses("PUT")[-2:] == [401, 201]
    assert len(world.tokens.granted) == 2


def test_a_renewal_that_fails_for_a_moment(world: World, tmp_path: Path) -> None:
    data = os.urandom(4 * PART)

    def die() -> None:
        world.die()
        world.tokens.faults.extend([503, 500])

    world.proxy.fault(parts(), Call(die), at=PART + PART // 2, towards="up")
    with world.client() as client:
        store = world.store(client)
        store.put(describe(data), InFile(tmp_path / "f", data))
        assert read(store, describe(data)) == data
    assert [one.status for one in world.tokens.asked] == [200, 503, 500, 200]
    assert any(isinstance(event, Retrying) and event.key == "login" for event in world.events)


@pytest.mark.parametrize("status", [401, 404])
def test_a_renewal_that_fails_leaves_what_has_arrived(world: World, tmp_path: Path, status: int) -> None:
    data = os.urandom(4 * PART)
    journal = tmp_path / "uploads"

    def die() -> None:
        world.die()
        world.tokens.faults.extend([status] * 9)

    world.proxy.fault(parts(), Call(die), at=PART + PART // 2, towards="up")
    with world.client() as client, pytest.raises(BundleError) as caught:
        world.store(client, journal=journal).put(describe(data), InFile(tmp_path / "f", data))
    assert caught.value.exit_code == (7 if status == 401 else 8)
    assert len(list(journal.iterdir())) == 1
    world.tokens.faults.clear()
    world.proxy.clear()
    file = InFile(tmp_path / "again", data)
    with world.client() as client:
        store = world.store(client, journal=journal)
        store.put(describe(data), file)
        assert file.spanned == [2 * PART]
        assert read(store, describe(data)) == data
    assert world.proxy.counts.up() == 2 * PART


# --- registries that say it in another way


def challenge(world: World, extra: str = "", realm: str = "") -> dict[str, str]:
    scope = 'scope="repository:team/model:pull"'
    return {"WWW-Authenticate": f'Bearer realm="{realm or world.tokens.realm}",service="{SERVICE}",{scope}{extra}'}


Answer = Callable[[World], Status]


@pytest.mark.parametrize(
    "stale",
    [
        lambda world: Status(403, challenge(world, ',error="invalid_token"')),
        lambda world: Status(403),
        lambda world: Status(401),
        lambda world: Status(401, {"WWW-Authenticate": "Negotiate, " + challenge(world)["WWW-Authenticate"]}),
        lambda world: Status(401, challenge(world, realm=world.tokens.realm + "?account=x")),
    ],
    ids=["403", "403 bare", "401 bare", "several", "query"],
)
def test_other_ways_to_say_that_a_token_is_stale(world: World, stale: Answer) -> None:
    data = fresh_bytes()
    publish(world, "team/model", data)
    with world.client() as client:
        store = world.store(client)
        assert read(store, describe(data)) == data
        rule = world.proxy.fault(Where("GET", "blob"), stale(world))
        assert read(store, describe(data)) == data
        assert rule.used == 1
    assert len(world.tokens.asked) == 2


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("words", [True, False])
def test_no_for_good_is_no_loop(world: World, status: int, words: bool) -> None:
    data = fresh_bytes()
    publish(world, "team/model", data)
    with world.client() as client:
        store = world.store(client)
        read(store, describe(data))
        asked = len(world.tokens.asked)
        rule = world.proxy.fault(Where("GET", "blob"), Status(status, challenge(world) if words else {}), times=99)
        with pytest.raises(Unauthorized) as caught:
            read(store, describe(data))
        assert caught.value.exit_code == 7
        assert rule.used <= 3
        assert len(world.tokens.asked) - asked <= 1


def test_a_challenge_for_more_is_asked_for_once(world: World) -> None:
    data = fresh_bytes()
    publish(world, "team/model", data)
    more = challenge(world, ',error="insufficient_scope"')
    more["WWW-Authenticate"] = more["WWW-Authenticate"].replace(":pull", ":pull,push")
    with world.client() as client:
        store = world.store(client)
        rule = world.proxy.fault(Where("GET", "blob", nth=2), Status(403, more), times=1)
        assert read(store, describe(data)) == data
        assert rule.used == 1
        assert [one.scopes for one in world.tokens.asked] == [
            ["repository:team/model:pull"],
            ["repository:team/model:pull", "repository:team/model:pull,push"],
        ]
        always = world.proxy.fault(Where("GET", "blob"), Status(403, more), times=99)
        with pytest.raises(Unauthorized):
            read(store, describe(data))
        assert always.used <= 3
        assert len(world.tokens.asked) <= 3
