"""What a registry, or the way to it, can do wrong (facts: reliability §3.2 to §3.5, §4 R1 to R5 and R8)."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelops_bundle.errors import BundleError, Corrupt, NotFound, TagMoved, Unauthorized, Unavailable, Unsupported
from modelops_bundle.events import Event, Limits, Requested, Retrying, Run
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.ports import ABSENT, ANYTHING
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Credentials, Given
from modelops_bundle.net.exchange import Request
from modelops_bundle.net.options import HostOptions, NetOptions
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing import actions
from modelops_bundle.testing.actions import Action
from modelops_bundle.testing.registry import Match, Registry
from modelops_bundle.testing.store_contract import describe, make_manifest, put, read
from modelops_bundle.transfer import receive, segments, staging
from modelops_bundle.transfer.staging import Staging
from tests.support.wide import EagerHosts

CANARY = "canary-pass-4711"
CONTENT = os.urandom(2 * 1024 * 1024)
LAYER = describe(CONTENT)
OTHER_DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.habits.single_post = False
        yield registry


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(registry: Registry, events: list[Event], slept: list[float]) -> Iterator[Client]:
    with Client(
        NetOptions(stall_timeout=0.5),
        credentials=Given(registry.host, Credentials("bob", CANARY)),
        run=Run(emit=events.append),
        sleep=slept.append,
    ) as client:
        yield client


@pytest.fixture
def store(registry: Registry, client: Client) -> RegistryStore:
    return RegistryStore(client, registry.host, "team/model")


def on(method: str, part: str) -> Match:
    return lambda asked, path: asked == method and part in path


def push(store: RegistryStore) -> Descriptor:
    what, data = make_manifest(store, CONTENT)
    store.put(what, [data])
    store.tag("v1", what, data, ANYTHING)
    return what


def pull(store: RegistryStore) -> bytes:
    """Resolve, read, and read once more what does not verify: what `transfer` does."""
    found = store.resolve("v1", data=True)
    assert found is not None and found.data is not None
    [layer] = Manifest.from_bytes(found.data, found.media_type).layers
    for _ in range(2):
        content = read(store, layer)
        if Digest.of(content) == layer.digest:
            return content
    raise Corrupt("twice")


# --- the twelve transient faults

TRANSIENT: dict[str, tuple[Action, int]] = {
    "500 twice": (actions.Status(500), 2),
    "503 with Retry-After": (actions.Status(503, {"Retry-After": "1"}), 1),
    "429 with Retry-After": (actions.Status(429, {"Retry-After": "1"}), 1),
    "429 with a date": (actions.Status(429, {"Retry-After": "Thu, 01 Jan 2015 00:00:00 GMT"}), 1),
    "cut at 0": (actions.Cut(0), 1),
    "cut at 1": (actions.Cut(1), 1),
    "cut halfway": (actions.Cut(200), 1),
    "reset in the body": (actions.Cut(100, reset=True), 2),
    "reset twice": (actions.Reset(), 2),
    "corrupt once": (actions.Corrupt(5), 1),
    "502 five times": (actions.Status(502), 5),
    "a web page": (actions.Html(), 1),
    "an error page": (actions.Html(502), 1),
    "408": (actions.Status(408), 1),
    "garbage": (actions.Body(b"\x00garbage"), 1),
}


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize("name", TRANSIENT)
def test_pull_survives(registry: Registry, store: RegistryStore, name: str, part: str) -> None:
    push(store)
    action, times = TRANSIENT[name]
    fault = registry.fault(on("GET", part), action, times)
    assert pull(store) == CONTENT
    assert fault.used == times


@pytest.mark.parametrize(
    "name", [name for name, (action, _) in TRANSIENT.items() if isinstance(action, actions.Status)]
)
def test_looking_survives(registry: Registry, store: RegistryStore, name: str) -> None:
    what = push(store)
    action, times = TRANSIENT[name]
    for part in ("/manifests/", "/blobs/"):
        registry.fault(on("HEAD", part), action, times)
    assert store.resolve("v1") == what
    assert store.has(LAYER)


def test_pull_survives_a_blob_that_is_absent_for_a_moment(registry: Registry, store: RegistryStore) -> None:
    push(store)
    registry.fault(on("GET", "/blobs/"), actions.Refuse(404, "BLOB_UNKNOWN"))
    assert pull(store) == CONTENT


def test_pull_survives_tokens_that_die(registry: Registry, store: RegistryStore) -> None:
    registry.require_auth("bob", CANARY)
    push(store)
    registry.expire_tokens()
    assert pull(store) == CONTENT
    registry.fault(on("GET", "/blobs/"), actions.Cut(1_000_000))
    with store.open(LAYER) as chunks:
        head = next(chunks)
        registry.expire_tokens()
        assert head + b"".join(chunks) == CONTENT


def test_pull_survives_a_stall(registry: Registry, store: RegistryStore, events: list[Event]) -> None:
    push(store)
    stall = actions.Stall()
    registry.fault(on("GET", "/blobs/"), stall)
    assert pull(store) == CONTENT
    stall.release()
    assert any(isinstance(event, Retrying) and "sent nothing" in event.why for event in events)


def test_pull_survives_a_registry_that_restarts_in_the_body(registry: Registry, store: RegistryStore) -> None:
    push(store)
    registry.fault(on("GET", "/blobs/"), actions.Cut(1_000_000))
    registry.fault(on("GET", "/blobs/"), actions.Reset(), times=2)
    assert pull(store) == CONTENT


# --- the same, with several connections bringing one blob


class Landing:
    """Where `transfer` lands LAYER, in segments from the beginning on."""

    def __init__(self, folder: Path, store: RegistryStore) -> None:
        self.staging = Staging(folder, EagerHosts(4))
        self.store = store

    def fetch(self, progress: Callable[[int], None] = lambda _: None) -> int:
        return self.staging.fetch(LAYER, self.store, Run(), progress)

    def is_right(self) -> bool:
        return self.staging.path(LAYER.digest).read_bytes() == CONTENT


@pytest.fixture
def landing(tmp_path: Path, store: RegistryStore, monkeypatch: pytest.MonkeyPatch) -> Landing:
    for module, name, value in (
        (staging, "SMALL", 1000),
        (receive, "SPLIT", 128 * 1024),
        (segments, "SEGMENT", 256 * 1024),
        (segments, "SMALLEST", 128 * 1024),
    ):
        monkeypatch.setattr(module, name, value)
    push(store)
    return Landing(tmp_path / "parts", store)


FAULTS_IN_PARTS: dict[str, tuple[Action, int | None]] = {
    **TRANSIENT,
    "ranges ignored once": (actions.IgnoreRange(), 1),
    "ranges ignored": (actions.IgnoreRange(), None),
    "another range once": (actions.Headers({"Content-Range": f"bytes 0-9/{LAYER.size}"}), 1),
    "another length once": (actions.Headers({"Content-Length": "10"}), 1),
    "a range refused once": (actions.Status(416), 1),
    "too short once": (actions.Short(1000), 1),
    "too long once": (actions.Long(1000), 1),
    "absent for a moment": (actions.Refuse(404, "BLOB_UNKNOWN"), 1),
}


def test_landing_in_segments(registry: Registry, landing: Landing) -> None:
    caller, pieces = threading.get_ident(), 0

    def let_others_come_first(amount: int) -> None:
        nonlocal pieces
        if threading.get_ident() == caller and amount:
            pieces += 1
            if pieces == 2:
                for _ in range(20_000):
                    if len(registry.asked("GET", "/blobs/")) > 4:
                        break
                    time.sleep(0.001)

    assert landing.fetch(let_others_come_first) == LAYER.size
    assert landing.is_right()
    asked = registry.asked("GET", "/blobs/")
    assert len(asked) > 4
    assert all("range" in one.headers for one in asked[1:])


@pytest.mark.parametrize("skip", [0, 1, 2])
@pytest.mark.parametrize("name", FAULTS_IN_PARTS)
def test_landing_in_segments_survives(registry: Registry, landing: Landing, name: str, skip: int) -> None:
    action, times = FAULTS_IN_PARTS[name]
    fault = registry.fault(on("GET", "/blobs/"), action, times, skip)
    landing.fetch()
    assert landing.is_right()
    # How many requests there are is a matter of who is faster; there is always a first one.
    assert fault.used >= 1 or skip


def test_landing_in_segments_survives_a_stall(registry: Registry, landing: Landing) -> None:
    stall = actions.Stall()
    registry.fault(on("GET", "/blobs/"), stall, skip=1)
    landing.fetch()
    stall.release()
    assert landing.is_right()


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (actions.Status(503), Unavailable),
        (actions.Status(429), Unavailable),
        (actions.Reset(), Unavailable),
        (actions.Cut(0), Unavailable),
        (actions.Refuse(404, "BLOB_UNKNOWN"), NotFound),
        (actions.Status(403), Unauthorized),
    ],
)
def test_landing_in_segments_goes_on_after_the_host_gave_up(
    registry: Registry, landing: Landing, action: Action, error: type[BundleError]
) -> None:
    registry.fault(on("GET", "/blobs/"), actions.Cut(100_000), times=2)
    registry.fault(on("GET", "/blobs/"), action, times=None, skip=2)
    with pytest.raises(error):
        landing.fetch()
    missing = landing.staging.missing_bytes(LAYER)
    assert 0 < missing < LAYER.size
    registry.heal()
    registry.requests.clear()
    assert landing.fetch() == missing
    assert landing.is_right()
    assert all("range" in one.headers for one in registry.asked("GET", "/blobs/"))


def test_a_host_that_always_sends_other_bytes_leaves_nothing(registry: Registry, landing: Landing) -> None:
    registry.fault(on("GET", "/blobs/"), actions.Corrupt(5), times=None)
    with pytest.raises(Corrupt):
        landing.fetch()
    assert landing.staging.missing_bytes(LAYER) == LAYER.size
    registry.heal()
    assert landing.fetch() == LAYER.size
    assert landing.is_right()


PUSH_FAULTS = {
    "500 twice": (actions.Status(500), 2),
    "503 with Retry-After": (actions.Status(503, {"Retry-After": "1"}), 1),
    "429 with Retry-After": (actions.Status(429, {"Retry-After": "1"}), 1),
    "408": (actions.Status(408), 1),
    "reset before": (actions.Reset(), 2),
    "reset after": (actions.Reset(done=True), 2),
    "answer before the body": (actions.Status(503, reads_body=False), 2),
    "502 five times": (actions.Status(502), 5),
    "an error page": (actions.Html(502), 1),
}


@pytest.mark.parametrize(("method", "part"), [("POST", "/blobs/"), ("PUT", "/blobs/"), ("PUT", "/manifests/")])
@pytest.mark.parametrize("name", PUSH_FAULTS)
def test_push_survives(registry: Registry, store: RegistryStore, name: str, method: str, part: str) -> None:
    action, times = PUSH_FAULTS[name]
    fault = registry.fault(on(method, part), action, times)
    what = push(store)
    assert fault.used == times
    registry.heal()
    assert store.resolve("v1") == what
    assert pull(store) == CONTENT


@pytest.mark.parametrize("code", [(404, "BLOB_UPLOAD_UNKNOWN"), (400, "BLOB_UPLOAD_INVALID"), (400, "DIGEST_INVALID")])
def test_push_survives_lost_sessions_and_damage(
    registry: Registry, store: RegistryStore, code: tuple[int, str]
) -> None:
    registry.fault(on("PUT", "/blobs/"), actions.Refuse(*code), times=2)
    push(store)
    assert pull(store) == CONTENT


def test_push_survives_tokens_that_die(registry: Registry, store: RegistryStore) -> None:
    registry.require_auth("bob", CANARY)
    push(store)
    registry.expire_tokens()
    more = os.urandom(2 * 1024 * 1024)
    what = put(store, more)

    class Expiring:
        """The login is lost after the session began, when the body is about to go."""

        done = 0

        def __iter__(self) -> Iterator[bytes]:
            self.done += 1
            if self.done == 1:
                registry.expire_tokens()
            yield more[::-1]

    other = describe(more[::-1])
    store.put(other, Expiring())
    assert read(store, what) == more
    assert read(store, other) == more[::-1]


def test_a_tag_that_was_written_although_the_answer_got_lost(registry: Registry, store: RegistryStore) -> None:
    what, data = make_manifest(store, CONTENT)
    registry.fault(on("PUT", "/manifests/"), actions.Reset(done=True))
    store.tag("v1", what, data, ABSENT)
    assert store.resolve("v1") == what


@pytest.mark.parametrize(("answer", "error"), [(404, NotFound), (403, Unauthorized)])
def test_no_is_an_answer(registry: Registry, store: RegistryStore, answer: int, error: type[BundleError]) -> None:
    push(store)
    registry.requests.clear()
    registry.fault(on("GET", "/blobs/"), actions.Status(answer), times=None)
    with pytest.raises(error):
        read(store, LAYER)
    # One more look where a manifest promised the blob; none where somebody said no.
    assert len(registry.requests) == (2 if answer == 404 else 1)


def test_patience_has_an_end_and_says_so(registry: Registry, store: RegistryStore, slept: list[float]) -> None:
    push(store)
    registry.fault(on("GET", ""), actions.Status(429, {"Retry-After": "100000"}), times=None)
    with pytest.raises(Unavailable, match="asks to wait 100000 s") as caught:
        store.resolve("v1", data=True)
    assert caught.value.code == "rate-limited"
    assert sum(slept) == 0


def test_nobody_there(client: Client) -> None:
    with Registry() as gone:
        host = gone.host
    with pytest.raises(Unavailable, match="cannot connect"):
        RegistryStore(client, host, "team/model").resolve("v1")


def test_unknown_is_not_absent(registry: Registry, store: RegistryStore) -> None:
    for status, error in ((401, Unauthorized), (403, Unauthorized), (500, Unavailable), (418, Unavailable)):
        registry.heal()
        registry.fault(on("HEAD", ""), actions.Status(status), times=None)
        registry.fault(on("GET", ""), actions.Status(status), times=None)
        for use in (lambda: store.resolve("v1"), lambda: store.has(LAYER), store.tags):
            with pytest.raises(error):
                use()
    registry.heal()
    registry.fault(on("HEAD", ""), actions.Status(404, {"Content-Type": "text/html"}), times=None)
    assert store.resolve("v1") is None, "it shows the API version header, so it is a registry"


# --- lies


def manifest_of(registry: Registry) -> bytes:
    [(_, data)] = registry.repositories["team/model"].manifests.values()
    return data


@pytest.mark.parametrize("data", [False, True])
def test_a_lie_about_the_digest_of_a_pinned_manifest(registry: Registry, store: RegistryStore, data: bool) -> None:
    what = push(store)
    registry.fault(lambda *_: True, actions.Digest(OTHER_DIGEST), times=None)
    with pytest.raises(Corrupt):
        store.resolve(str(what.digest), data=data)


def test_a_lie_about_the_digest_of_a_tag(registry: Registry, store: RegistryStore) -> None:
    push(store)
    registry.fault(lambda *_: True, actions.Digest(OTHER_DIGEST), times=None)
    with pytest.raises(Corrupt):
        store.resolve("v1", data=True)


@pytest.mark.parametrize("said", [None, "sha512:" + "0" * 128])
def test_a_digest_that_is_not_said_is_computed(registry: Registry, store: RegistryStore, said: str | None) -> None:
    what = push(store)
    registry.fault(lambda *_: True, actions.Digest(said), times=None)
    for name in ("v1", str(what.digest)):
        assert store.resolve(name) == what


@pytest.mark.parametrize("said", ["sha256:abc", "sha256:" + "A" * 64, "sha256:../../x"])
def test_a_digest_that_is_none(registry: Registry, store: RegistryStore, said: str) -> None:
    push(store)
    registry.fault(lambda *_: True, actions.Digest(said), times=None)
    with pytest.raises(Corrupt):
        store.resolve("v1")


def test_other_content_under_a_pinned_digest(registry: Registry, store: RegistryStore) -> None:
    what = push(store)
    other = json.dumps(json.loads(manifest_of(registry)), indent=1).encode()
    registry.fault(on("GET", ""), actions.Body(other), times=None)
    registry.fault(on("GET", ""), actions.Digest(None), times=None)
    with pytest.raises(Corrupt):
        store.resolve(str(what.digest), data=True)


@pytest.mark.parametrize(
    "action",
    [
        actions.Body(b"{" + b" " * (5 * 1024 * 1024) + b"}"),
        actions.Endless(),
        actions.Gzip(),
        actions.Headers({"Content-Encoding": "gzip"}),
        actions.Headers({"Content-Length": "99999999999"}),
    ],
    ids=["5 MiB", "endless", "gzip", "said gzip", "said huge"],
)
def test_manifests_beyond_bounds(registry: Registry, store: RegistryStore, action: Action) -> None:
    push(store)
    registry.fault(on("GET", "/manifests/"), action, times=None)
    with pytest.raises((Corrupt, Unavailable)):
        store.resolve("v1", data=True)


@pytest.mark.parametrize("action", [actions.Html(), actions.Body(b"[1]"), actions.Body(b""), actions.Body(b"nonsense")])
def test_what_is_no_manifest(registry: Registry, store: RegistryStore, action: Action) -> None:
    push(store)
    for method in ("GET", "HEAD"):
        registry.fault(on(method, "/manifests/"), action, times=None)
    with pytest.raises((Corrupt, Unavailable)):
        store.resolve("v1", data=True)


def test_a_registry_that_stores_something_else(registry: Registry, store: RegistryStore) -> None:
    what, data = make_manifest(store, CONTENT)
    registry.fault(on("PUT", "/manifests/"), actions.Digest(OTHER_DIGEST), times=None)
    with pytest.raises(Corrupt):
        store.tag("v1", what, data, ANYTHING)


def test_missing_blobs_are_named(registry: Registry, store: RegistryStore) -> None:
    what, data = make_manifest(store, CONTENT)
    registry.repositories["team/model"].blobs.pop(str(LAYER.digest))
    with pytest.raises(NotFound) as caught:
        store.tag("v1", what, data, ANYTHING)
    assert caught.value.facts["blobs"] == [str(LAYER.digest)]


def test_a_manifest_too_large_is_not_sent(registry: Registry, store: RegistryStore) -> None:
    data = b"{" + b" " * media.MAX_MANIFEST + b"}"
    with pytest.raises(Unsupported):
        store.put(Descriptor.of(media.OCI_MANIFEST, data), [data])
    assert registry.requests == []


def test_a_tag_that_moved_where_the_registry_compares(registry: Registry, store: RegistryStore) -> None:
    first = push(store)
    what, data = make_manifest(store, b"other")
    for expect in (ABSENT, what):
        with pytest.raises(TagMoved):
            store.tag("v1", what, data, expect)
    store.tag("v1", what, data, first)
    assert store.resolve("v1") == what
    assert registry.asked("PUT", "/manifests/v1")[-1].headers["if-match"] == f'"{first.digest}"'


# --- who sees the password


def shown(error: BaseException) -> str:
    facts = str(error.facts) + str(error.hint) if isinstance(error, BundleError) else ""
    return "".join(traceback.format_exception(error)) + facts


def test_a_token_server_without_tls_elsewhere_gets_nothing(registry: Registry, store: RegistryStore) -> None:
    registry.require_auth("bob", CANARY)
    registry.realm = "http://auth.evil.example/token"
    with pytest.raises(Unauthorized, match="without TLS") as caught:
        store.resolve("v1")
    assert CANARY not in shown(caught.value)
    assert all("authorization" not in one.headers for one in registry.requests)


def test_a_token_server_that_changes_gets_nothing(registry: Registry, store: RegistryStore) -> None:
    with Registry() as evil:
        registry.require_auth("bob", CANARY)
        push(store)
        registry.expire_tokens()
        registry.realm = f"{evil.url}/token"
        with pytest.raises(Unauthorized, match="another token server"):
            store.resolve("v1")
        assert evil.requests == []


@pytest.mark.parametrize("basic", [False, True])
def test_redirects_leave_the_login_behind(registry: Registry, store: RegistryStore, basic: bool) -> None:
    with Registry() as elsewhere:
        registry.require_auth("bob", CANARY, basic=basic)
        push(store)
        elsewhere.protocol.repository("team/model").blobs[str(LAYER.digest)] = CONTENT
        registry.fault(on("GET", "/blobs/"), actions.Redirect(elsewhere.url + "{target}?X-Amz-Signature=" + CANARY))
        registry.fault(on("GET", "/blobs/"), actions.Redirect(elsewhere.url + "{target}"))
        assert read(store, LAYER) == CONTENT
        assert read(store, LAYER, 5, 10) == CONTENT[5:10]
        assert [one.headers.get("range") for one in elsewhere.requests] == [None, "bytes=5-9"]
        assert all("authorization" not in one.headers for one in elsewhere.requests)
        assert "authorization" in registry.requests[-1].headers


def test_uploads_to_another_port_are_refused(registry: Registry, store: RegistryStore) -> None:
    with Registry() as elsewhere:
        registry.require_auth("bob", CANARY)
        location = {"Location": f"{elsewhere.url}/v2/team/model/blobs/uploads/x"}
        registry.fault(on("POST", "/blobs/"), actions.Headers(location), times=None)
        with pytest.raises((Unsupported, Unavailable)):
            put(store, CONTENT)
        assert elsewhere.requests == []


def test_tags_continue_on_the_same_registry_only(registry: Registry, store: RegistryStore) -> None:
    with Registry() as elsewhere:
        registry.require_auth("bob", CANARY)
        push(store)
        link = {"Link": f'<{elsewhere.url}/v2/team/model/tags/list?last=v1>; rel="next"'}
        registry.fault(on("GET", "/tags/"), actions.Headers(link), times=None)
        with pytest.raises(Unsupported, match="another server"):
            store.tags()
        assert elsewhere.requests == []


def test_tags_in_pages_in_circles_and_odd_ones(registry: Registry, store: RegistryStore) -> None:
    what, data = make_manifest(store, CONTENT)
    for number in range(7):
        store.tag(f"v{number}", what, data, ANYTHING)
    registry.habits.page = 3
    assert list(store.tags()) == [f"v{number}" for number in range(7)]
    registry.fault(on("GET", "/tags/"), actions.Headers({"Link": '<?last=v2&n=3>; rel="next"'}), times=None)
    assert list(store.tags()) == [f"v{number}" for number in range(6)]
    registry.heal()
    names = ["ok", "\x1b[31m", "../x", 7, "ok"]
    registry.fault(on("GET", "/tags/"), actions.Body(json.dumps({"name": "x", "tags": names}).encode()), times=None)
    registry.habits.page = None
    assert list(store.tags()) == ["ok"]
    registry.heal()
    registry.fault(on("GET", "/tags/"), actions.Body(b'{"tags": null}'))
    assert store.tags() == []
    registry.fault(on("GET", "/tags/"), actions.Body(b'{"tags": {}}'))
    with pytest.raises(Corrupt):
        store.tags()


def test_untagging_where_only_manifests_can_be_deleted(registry: Registry, store: RegistryStore) -> None:
    registry.habits.tag_deletes = False
    what, data = make_manifest(store, CONTENT)
    store.tag("gone", what, data, ANYTHING)
    store.tag("also", what, data, ANYTHING)
    assert not store.untag("gone", what), "the other tag would go too"
    other, more = make_manifest(store, b"other")
    store.tag("_i.gone.x", other, more, ANYTHING)
    registry.requests.clear()
    assert store.untag("_i.gone.x", other)
    assert [one.method for one in registry.requests] == ["HEAD", "DELETE", "DELETE"]
    assert list(store.tags()) == ["also", "gone"]
    registry.habits.deletes = False
    assert not store.untag("also", what)


@pytest.mark.parametrize("status", [400, 403, 401, 405])
def test_untagging_where_nothing_can_be_deleted(registry: Registry, store: RegistryStore, status: int) -> None:
    what = push(store)
    registry.fault(on("DELETE", ""), actions.Status(status), times=None)
    assert store.untag("v1", what) is False
    assert store.resolve("v1") == what


def scenes(registry: Registry, store: RegistryStore) -> Iterator[Callable[[], object]]:
    """Everything that talks to the registry."""
    what, data = make_manifest(store, CONTENT)
    yield lambda: store.resolve("v1", data=True)
    yield lambda: store.has(LAYER)
    yield lambda: read(store, LAYER)
    yield lambda: put(store, b"more" + os.urandom(4))
    yield lambda: store.put(what, [data])
    yield lambda: store.tag("v1", what, data, ANYTHING)
    yield store.tags
    yield lambda: store.untag("v1", what)


@pytest.mark.parametrize(
    "action",
    [
        actions.Status(403),
        actions.Refuse(403, "DENIED", f"token={CANARY} Bearer {CANARY} https://bob:{CANARY}@h/?sig={CANARY}"),
        actions.Redirect(f"http://127.0.0.1:1/?X-Amz-Signature={CANARY}"),
        actions.Redirect(f"https://bob:{CANARY}@evil.example/"),
        actions.Status(401, {"WWW-Authenticate": f'Bearer realm="http://evil.example/?token={CANARY}"'}),
        actions.Html(),
        actions.Gzip(),
        actions.Reset(),
    ],
    ids=lambda action: type(action).__name__,
)
def test_no_secret_gets_into_words(
    registry: Registry, store: RegistryStore, events: list[Event], action: Action, capfd: pytest.CaptureFixture[str]
) -> None:
    registry.require_auth("bob", CANARY)
    push(store)
    for scene in scenes(registry, store):
        registry.heal()
        registry.fault(lambda method, path: "/token" not in path, action, times=None)
        try:
            scene()
        except BundleError as error:
            assert CANARY not in shown(error)
        registry.heal()
    assert CANARY not in repr(events)
    assert CANARY not in "".join(capfd.readouterr())
    tokens = {one.headers.get("authorization", "") for one in registry.requests} - {""}
    assert tokens
    assert not any(token.split()[-1] in repr(events) for token in tokens)


# --- the rest of the way


def test_a_proxy_is_used_and_gets_its_own_login(registry: Registry, events: list[Event]) -> None:
    proxy = registry.url.replace("http://", f"http://me:{CANARY}@")
    options = NetOptions(http_proxy=proxy, hosts={"registry.example": HostOptions(plain_http=True)})
    with Client(options, run=Run(emit=events.append)) as client:
        store = RegistryStore(client, "registry.example", "team/model")
        assert read(store, put(store, b"through")) == b"through"
    assert registry.requests[0].path.startswith("http://registry.example/v2/")
    assert registry.requests[0].headers["proxy-authorization"].startswith("Basic ")
    assert CANARY not in repr(events)


def test_the_rate_is_kept_both_ways(registry: Registry) -> None:
    slept: list[float] = []
    run = Run(limits=Limits(rate=1_000_000))
    with Client(run=run, sleep=slept.append) as client:
        store = RegistryStore(client, registry.host, "team/model")
        put(store, CONTENT)
        up = max(slept)
        assert 1.5 < up < 2.1
        read(store, LAYER)
        assert 3.5 < max(slept) < 4.2


@pytest.mark.parametrize("doing", ["reading a body", "waiting for an answer", "sending a body"])
def test_aborting_wakes_whoever_waits(registry: Registry, doing: str) -> None:
    stall = actions.Stall(headers=doing == "reading a body", body=doing != "sending a body")
    big = bytes(64 * 1024 * 1024)
    raised: list[BundleError] = []
    with Client(NetOptions(stall_timeout=60)) as client:
        store = RegistryStore(client, registry.host, "team/model")
        put(store, CONTENT)
        fault = registry.fault(on("PUT" if doing == "sending a body" else "GET", "/blobs/"), stall, times=None)

        def work() -> None:
            try:
                if doing == "sending a body":
                    put(store, big)
                else:
                    read(store, LAYER)
            except BundleError as error:
                raised.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert stall.reached.wait(10)
        client.run.cancel()
        while thread.is_alive():
            # Between two waits there is nobody to wake; the next one begins at once.
            client.abort()
            thread.join(0.05)
        stall.release()
    assert fault.used == 1
    assert [error.code for error in raised] == ["interrupted"]


def test_memory_stays_flat_under_an_endless_manifest(registry: Registry, store: RegistryStore) -> None:
    import resource

    push(store)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    registry.fault(on("GET", "/manifests/"), actions.Endless(), times=None)
    with pytest.raises(Corrupt):
        store.resolve("v1", data=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_every_answer_is_an_event(registry: Registry, store: RegistryStore, events: list[Event]) -> None:
    push(store)
    pull(store)
    told = [(event.method, event.status) for event in events if isinstance(event, Requested)]
    assert told == [(one.method, one.status) for one in registry.requests]


def test_plain_requests_work_too(registry: Registry, client: Client) -> None:
    assert client.fetch(Request("GET", f"{registry.url}/v2/", "root")).body == b"{}"
    assert hashlib.sha256(CONTENT).hexdigest() == LAYER.digest.hex


def test_connections_are_kept_alive(registry: Registry, store: RegistryStore) -> None:
    what = push(store)
    for _ in range(3):
        store.resolve("v1")
        store.resolve("absent")
        store.resolve("v1", data=True)
        store.has(LAYER)
        store.has(describe(b"absent"))
        store.tags()
        read(store, LAYER)
        read(store, LAYER, 3, 7)
        store.tag("v1", what, manifest_of(registry), ANYTHING)
    assert registry.connections == 1
