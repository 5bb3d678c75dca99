"""Uploads against the in-process registry: how many requests, and what is never sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelops_bundle.errors import BundleError, Corrupt, Unauthorized, Unavailable, Unsupported
from modelops_bundle.events import Event, Retrying, Run
from modelops_bundle.model.digest import Digest
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Credentials, Given
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores import registries, uploads
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.stores.unfinished import Begun, Unfinished
from modelops_bundle.testing.actions import Action, CutUpload, First, Headers, IgnoreMount, Refuse, Reset, Status
from modelops_bundle.testing.contents import InFile
from modelops_bundle.testing.registry import Registry
from modelops_bundle.testing.store_contract import Pieces, describe, read

BIG = os.urandom(3 * 1024 * 1024)
SMALL = b"small"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.habits.single_post = False
        yield registry


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def store(registry: Registry, events: list[Event]) -> Iterator[RegistryStore]:
    with Client(run=Run(emit=events.append), policy=Policy(base=0.0)) as client:
        yield RegistryStore(client, registry.host, "team/model")


def asked(registry: Registry) -> list[str]:
    return [f"{one.method} {one.status}" for one in registry.requests]


def puts(method: str, path: str) -> bool:
    return method == "PUT"


def posts(method: str, path: str) -> bool:
    return method == "POST"


def test_a_new_blob_takes_two_requests_a_known_one_takes_one(registry: Registry, store: RegistryStore) -> None:
    store.put(describe(BIG), [BIG])
    assert asked(registry) == ["POST 202", "PUT 201"]
    store.put(describe(BIG), [BIG])
    assert asked(registry)[2:] == ["POST 201"]
    assert f"mount={describe(BIG).digest}&from=team/model" in registry.requests[0].path
    assert "_state=" in registry.requests[1].path
    assert registry.requests[1].path.endswith(f"&digest={describe(BIG).digest}")
    assert registry.requests[1].headers["content-length"] == str(len(BIG))


def test_large_blobs_are_asked_for_where_mounts_are_ignored(
    registry: Registry, store: RegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "LARGE", len(BIG))
    registry.fault(posts, IgnoreMount(), times=None)
    store.put(describe(BIG), [BIG])
    assert asked(registry) == ["POST 202", "HEAD 404", "PUT 201"]
    store.put(describe(BIG), [BIG])
    assert asked(registry)[3:] == ["POST 202", "HEAD 200", "DELETE 204"]


def test_a_registry_that_dislikes_mounts_is_asked_without(registry: Registry, store: RegistryStore) -> None:
    registry.fault(lambda method, path: "mount=" in path, Refuse(400, "UNSUPPORTED"), times=None)
    store.put(describe(BIG), [BIG])
    assert asked(registry) == ["POST 400", "POST 202", "PUT 201"]


def test_a_failed_attempt_starts_over(registry: Registry, store: RegistryStore, events: list[Event]) -> None:
    registry.fault(puts, Reset(), times=2)
    registry.fault(puts, Status(503), times=1)
    pieces = Pieces(BIG, 1024 * 1024)
    store.put(describe(BIG), pieces)
    assert read(store, describe(BIG)) == BIG
    assert pieces.started == 4
    assert asked(registry).count("POST 202") == 4
    assert [event.key for event in events if isinstance(event, Retrying)] == [str(describe(BIG).digest)] * 3


def test_an_iterator_cannot_start_over(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Status(503))
    with pytest.raises(Unavailable):
        store.put(describe(BIG), iter([BIG]))
    assert asked(registry) == ["POST 202", "PUT 503", "DELETE 204"]


def test_a_small_iterator_can(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Status(503))
    store.put(describe(SMALL), iter([SMALL]))
    assert read(store, describe(SMALL)) == SMALL


def test_a_lost_session_is_replaced(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Refuse(404, "BLOB_UPLOAD_UNKNOWN"))
    registry.fault(puts, Refuse(400, "BLOB_UPLOAD_INVALID"))
    store.put(describe(BIG), [BIG])
    assert read(store, describe(BIG)) == BIG


def test_bytes_damaged_on_the_way_are_sent_again(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Refuse(400, "DIGEST_INVALID"))
    store.put(describe(BIG), [BIG])
    assert read(store, describe(BIG)) == BIG
    registry.fault(puts, Refuse(400, "DIGEST_INVALID"), times=None)
    with pytest.raises(Corrupt):
        store.put(describe(b"other"), [b"other"])


@pytest.mark.parametrize(
    ("status", "code", "exit_code"), [(403, "DENIED", 7), (413, "SIZE_INVALID", 10), (400, "NAME_INVALID", 8)]
)
def test_refusals_are_final(registry: Registry, store: RegistryStore, status: int, code: str, exit_code: int) -> None:
    registry.fault(puts, Refuse(status, code), times=None)
    with pytest.raises(BundleError) as caught:
        store.put(describe(SMALL), [SMALL])
    assert caught.value.exit_code == exit_code
    assert asked(registry).count(f"PUT {status}") == 1


def test_an_answer_before_the_body_was_read(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Status(503, reads_body=False), times=2)
    store.put(describe(BIG), [BIG])
    assert read(store, describe(BIG)) == BIG


@pytest.mark.parametrize("location", ["https://evil.example/upload", "http://localhost:1/upload", "//127.0.0.1/x"])
def test_uploads_go_to_the_registry_or_nowhere(registry: Registry, store: RegistryStore, location: str) -> None:
    registry.fault(posts, Headers({"Location": location}), times=None)
    with pytest.raises(Unsupported, match="another server"):
        store.put(describe(SMALL), [SMALL])
    assert asked(registry) == ["POST 202"]


def test_an_address_that_is_none(registry: Registry, store: RegistryStore) -> None:
    registry.fault(posts, Headers({"Location": "http://[bad"}), times=None)
    with pytest.raises(Corrupt, match="no URL"):
        store.put(describe(SMALL), [SMALL])


def test_an_upload_without_address(registry: Registry, store: RegistryStore) -> None:
    registry.fault(posts, Status(202), times=None)
    with pytest.raises(Unavailable, match="does not say where"):
        store.put(describe(SMALL), [SMALL])


def test_an_answer_that_names_another_digest(registry: Registry, store: RegistryStore) -> None:
    registry.fault(puts, Headers({"Docker-Content-Digest": "sha256:" + "0" * 64}))
    with pytest.raises(Corrupt):
        store.put(describe(BIG), [BIG])


def test_wrong_bytes_never_arrive_whole(registry: Registry, store: RegistryStore) -> None:
    with pytest.raises(Corrupt):
        store.put(describe(BIG), Pieces(BIG[:-1] + b"?", 1024 * 1024))
    assert registry.repositories.get("team/model", None) is None
    # The handler logs the short body when it sees the end of the connection, in a thread of its own.
    assert "PUT 201" not in asked(registry)


# --- one request for a small blob


def test_where_one_request_is_enough_small_blobs_take_one(registry: Registry, store: RegistryStore) -> None:
    registry.habits.single_post = True
    for number in range(3):
        store.put(describe(SMALL * number), [SMALL * number])
    assert asked(registry) == ["POST 201"] * 3
    assert all("digest=sha256:" in one.path and "mount=" not in one.path for one in registry.requests)
    assert read(store, describe(SMALL)) == SMALL


def test_where_it_is_not_that_is_found_out_once_and_for_free(registry: Registry, store: RegistryStore) -> None:
    for number in range(3):
        store.put(describe(SMALL * number), [SMALL * number])
    assert asked(registry) == ["POST 202", "PUT 201"] * 3
    assert ["digest=" in one.path for one in registry.requests if one.method == "POST"] == [True, False, False]
    assert read(store, describe(SMALL)) == SMALL


def test_larger_blobs_try_it_only_where_it_is_known_to_work(registry: Registry, store: RegistryStore) -> None:
    registry.habits.single_post = True
    middle = os.urandom(uploads.PROBE + 1)
    store.put(describe(middle), [middle])
    store.put(describe(SMALL), [SMALL])
    store.put(describe(middle[1:] + b"x"), [middle[1:] + b"x"])
    store.put(describe(BIG), [BIG])
    assert asked(registry) == ["POST 202", "PUT 201", "POST 201", "POST 201", "POST 202", "PUT 201"]


@pytest.mark.parametrize("status", [400, 404, 405, 411, 413, 415, 501])
def test_a_refusal_of_one_request_is_no_refusal_of_the_blob(
    registry: Registry, store: RegistryStore, status: int
) -> None:
    registry.fault(lambda method, path: "?digest=" in path and method == "POST", Status(status), times=None)
    store.put(describe(SMALL), [SMALL])
    assert asked(registry) == [f"POST {status}", "POST 202", "PUT 201"]


def test_a_failure_of_one_request_is_tried_again(registry: Registry, store: RegistryStore) -> None:
    registry.habits.single_post = True
    registry.fault(posts, Status(503))
    registry.fault(posts, Reset(done=True))
    store.put(describe(SMALL), [SMALL])
    assert asked(registry) == ["POST 503", "POST 0", "POST 201"]


# --- files


def test_a_file_is_sent_unread(registry: Registry, store: RegistryStore, tmp_path: Path) -> None:
    file = InFile(tmp_path / "f", BIG)
    store.put(describe(BIG), file)
    assert read(store, describe(BIG)) == BIG
    assert (file.opened, file.spanned) == (1, [0])


def test_a_retry_sends_the_file_from_its_start(registry: Registry, store: RegistryStore, tmp_path: Path) -> None:
    registry.fault(puts, CutUpload(1_000_000))
    registry.fault(puts, Status(503, reads_body=False))
    file = InFile(tmp_path / "f", BIG)
    store.put(describe(BIG), file)
    assert read(store, describe(BIG)) == BIG
    assert file.spanned == [0, 0, 0]


def test_bytes_that_a_registry_found_wrong_are_looked_at_here(
    registry: Registry, store: RegistryStore, tmp_path: Path
) -> None:
    file = InFile(tmp_path / "f", BIG[:-1] + bytes([BIG[-1] ^ 1]))
    with pytest.raises(Corrupt, match="the content to send as"):
        store.put(describe(BIG), file)
    assert file.spanned == [0], "the second time they were hashed"
    assert "PUT 201" not in asked(registry)


def test_a_file_that_is_shorter_than_it_should_be(registry: Registry, store: RegistryStore, tmp_path: Path) -> None:
    with pytest.raises((Corrupt, Unavailable)):
        store.put(describe(BIG), InFile(tmp_path / "f", BIG[:-5000]))
    assert "PUT 201" not in asked(registry)


# --- from another repository


def test_a_blob_that_another_repository_holds_takes_one_request(registry: Registry, store: RegistryStore) -> None:
    registry.protocol.repository("team/base").blobs[str(describe(BIG).digest)] = BIG
    assert store.mount(describe(BIG), iter(()), ["team/base", "team/never-asked"]) is True
    assert asked(registry) == ["POST 201"]
    assert "from=team/base" in registry.requests[0].path
    assert read(store, describe(BIG)) == BIG


def test_a_mount_that_misses_gives_the_session_to_upload_to(registry: Registry, store: RegistryStore) -> None:
    assert store.mount(describe(SMALL), [SMALL], ["team/base"]) is False
    assert asked(registry) == ["POST 202", "PUT 201"]


def test_the_login_to_mount_covers_both_repositories(registry: Registry) -> None:
    registry.require_auth("bob", "secret")
    registry.protocol.repository("team/base").blobs[str(describe(BIG).digest)] = BIG
    with Client(credentials=Given(registry.host, Credentials("bob", "secret"))) as client:
        assert RegistryStore(client, registry.host, "team/model").mount(describe(BIG), [BIG], ["team/base"])
    [token] = registry.asked("GET", "/token")
    assert "scope=repository%3Ateam%2Fmodel%3Apull%2Cpush&scope=repository%3Ateam%2Fbase%3Apull" in token.path


@pytest.mark.parametrize(
    "action",
    [Refuse(403, "DENIED"), Refuse(401, "UNAUTHORIZED"), Refuse(404, "NAME_UNKNOWN"), Status(503), Reset()],
    ids=["403", "401", "404", "503", "reset"],
)
def test_a_repository_that_nothing_comes_from_is_passed_over(
    registry: Registry, store: RegistryStore, action: Action
) -> None:
    registry.protocol.repository("team/open").blobs[str(describe(BIG).digest)] = BIG
    registry.fault(lambda method, path: "from=team/secret" in path, action, times=None)
    assert store.mount(describe(BIG), [BIG], ["team/secret", "team/open"]) is True
    assert read(store, describe(BIG)) == BIG
    # Once is enough: the next blob does not ask it again.
    seen = len(registry.requests)
    store.mount(describe(SMALL), [SMALL], ["team/secret"])
    assert not [one for one in registry.requests[seen:] if "team/secret" in one.path]


# --- in parts

PART = 1024 * 1024
PARTS = [f"PATCH {status}" for status in (202, 202, 202)]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = replace(registries.DISTRIBUTION, part=PART, parts_from=2 * PART)
    monkeypatch.setattr(registries, "DISTRIBUTION", profile)


def patches(method: str, path: str) -> bool:
    return method == "PATCH"


Make = Callable[[], RegistryStore]


@pytest.fixture
def again(registry: Registry, tmp_path: Path) -> Iterator[Make]:
    """Another process on the same project."""
    with Client(policy=Policy(base=0.0)) as client:
        yield lambda: RegistryStore(client, registry.host, "team/model", tmp_path / "uploads")


@pytest.mark.usefixtures("small_parts")
class TestParts:
    def test_a_large_blob_goes_in_parts(self, registry: Registry, store: RegistryStore, tmp_path: Path) -> None:
        file = InFile(tmp_path / "f", BIG)
        store.put(describe(BIG), file)
        assert asked(registry) == ["POST 202", *PARTS, "PUT 201"]
        assert [one.headers["content-range"] for one in registry.asked("PATCH")] == [
            "0-1048575",
            "1048576-2097151",
            "2097152-3145727",
        ]
        assert registry.requests[-1].headers["content-length"] == "0"
        assert read(store, describe(BIG)) == BIG
        assert file.opened == 1

    def test_other_registries_get_one_put(self, registry: Registry, store: RegistryStore) -> None:
        registry.habits.state = False
        store.put(describe(BIG), [BIG])
        assert asked(registry) == ["POST 202", "PUT 201"]

    def test_a_smaller_blob_goes_whole(self, registry: Registry, store: RegistryStore) -> None:
        store.put(describe(BIG[: 2 * PART - 1]), [BIG[: 2 * PART - 1]])
        assert asked(registry) == ["POST 202", "PUT 201"]

    def test_the_least_part_is_respected(self, registry: Registry, store: RegistryStore) -> None:
        registry.habits.least = 2 * PART
        store.put(describe(BIG), [BIG])
        assert [one.headers["content-length"] for one in registry.asked("PATCH")] == [str(2 * PART), str(PART)]

    @pytest.mark.parametrize("status", [201, 204])
    def test_what_registries_say_to_a_part(self, registry: Registry, store: RegistryStore, status: int) -> None:
        registry.habits.patched = status
        store.put(describe(BIG), [BIG])
        assert asked(registry) == ["POST 202", *[f"PATCH {status}"] * 3, "PUT 201"]
        assert read(store, describe(BIG)) == BIG

    def test_where_parts_are_refused_the_blob_goes_whole(self, registry: Registry, store: RegistryStore) -> None:
        registry.habits.patch = 0
        store.put(describe(BIG), [BIG])
        assert asked(registry) == ["POST 202", "PATCH 405", "DELETE 204", "POST 202", "PUT 201"]
        other = BIG[::-1]
        store.put(describe(other), [other])
        assert asked(registry)[5:] == ["POST 202", "PUT 201"]

    def test_a_cut_in_a_part_goes_on_where_the_registry_keeps_it(
        self, registry: Registry, store: RegistryStore, tmp_path: Path
    ) -> None:
        registry.fault(patches, CutUpload(400_000), skip=1)
        file = InFile(tmp_path / "f", BIG)
        store.put(describe(BIG), file)
        assert asked(registry) == ["POST 202", "PATCH 202", "PATCH 0", "GET 204", "PATCH 202", "PATCH 202", "PUT 201"]
        assert file.spanned == [0, PART + 400_000]
        assert read(store, describe(BIG)) == BIG

    def test_a_cut_in_a_part_starts_over_where_the_session_is_lost(
        self, registry: Registry, store: RegistryStore, tmp_path: Path
    ) -> None:
        registry.habits.keeps, registry.habits.appends = False, True
        registry.fault(patches, CutUpload(400_000), skip=1)
        store.put(describe(BIG), InFile(tmp_path / "f", BIG))
        assert asked(registry) == [
            *("POST 202", "PATCH 202", "PATCH 0", "GET 404"),
            *("POST 202", *PARTS, "PUT 201"),
        ]
        assert read(store, describe(BIG)) == BIG

    @pytest.mark.parametrize("where", ["PATCH", "PUT"])
    def test_a_registry_that_restarts(self, registry: Registry, store: RegistryStore, where: str) -> None:
        registry.fault(
            lambda method, path: method == where, First(registry.protocol.restart), skip=1 if where == "PATCH" else 0
        )
        store.put(describe(BIG), [BIG])
        assert read(store, describe(BIG)) == BIG
        assert asked(registry).count("POST 202") == 2

    def test_an_upload_that_gets_on_survives_any_number_of_faults(self, registry: Registry, tmp_path: Path) -> None:
        for skip in (1, 2):  # the first time of each part but one
            registry.fault(patches, Status(503), skip=skip)
        with Client(policy=Policy(base=0.0, attempts=2)) as client:
            store = RegistryStore(client, registry.host, "team/model")
            store.put(describe(BIG), InFile(tmp_path / "f", BIG))
            assert read(store, describe(BIG)) == BIG
        assert asked(registry).count("PATCH 503") == 2

    def test_an_upload_that_does_not_get_on_ends(self, registry: Registry) -> None:
        registry.fault(patches, Status(503), times=None, skip=1)
        with Client(policy=Policy(base=0.0, attempts=3)) as client, pytest.raises(Unavailable):
            RegistryStore(client, registry.host, "team/model").put(describe(BIG), [BIG])
        assert asked(registry).count("PATCH 503") == 3

    def test_a_login_that_is_lost_leaves_what_has_arrived(self, registry: Registry, tmp_path: Path) -> None:
        registry.require_auth("bob", "pass")
        known = Given(registry.host, Credentials("bob", "pass"))
        journal = tmp_path / "uploads"

        def forget() -> None:
            registry.expire_tokens()
            registry.require_auth("bob", "another")

        registry.fault(patches, First(forget), skip=1)
        with Client(credentials=known) as client, pytest.raises(Unauthorized):
            RegistryStore(client, registry.host, "team/model", journal).put(describe(BIG), InFile(tmp_path / "f", BIG))
        assert len(list(journal.iterdir())) == 1
        assert not registry.asked("DELETE"), "nobody to do it as"
        registry.require_auth("bob", "pass")
        file = InFile(tmp_path / "g", BIG)
        with Client(credentials=known) as client:
            RegistryStore(client, registry.host, "team/model", journal).put(describe(BIG), file)
        assert file.spanned == [PART]

    def test_a_registry_that_counts_differently_is_left(self, registry: Registry, store: RegistryStore) -> None:
        registry.fault(patches, Headers({"Range": "0-5"}))
        store.put(describe(BIG), [BIG])
        assert read(store, describe(BIG)) == BIG
        assert asked(registry)[:3] == ["POST 202", "PATCH 202", "DELETE 204"]

    @pytest.mark.parametrize("said", ["0-0", "", "nonsense", "5-9", "0-99999999"])
    def test_a_session_with_an_odd_range_is_not_gone_on_with(
        self, registry: Registry, store: RegistryStore, said: str
    ) -> None:
        registry.fault(patches, CutUpload(400_000), skip=1)
        registry.fault(lambda method, path: method == "GET" and "/uploads/" in path, Headers({"Range": said}))
        store.put(describe(BIG), [BIG])
        assert asked(registry).count("POST 202") == 2
        assert read(store, describe(BIG)) == BIG

    @pytest.mark.parametrize("status", [500, 502, 503, 429])
    def test_a_busy_registry_is_asked_again_later(
        self, registry: Registry, store: RegistryStore, events: list[Event], status: int
    ) -> None:
        registry.fault(patches, Status(status, {"Retry-After": "0"}), skip=1)
        store.put(describe(BIG), [BIG])
        assert read(store, describe(BIG)) == BIG
        assert asked(registry)[2:4] == [f"PATCH {status}", "GET 204"]
        assert any(isinstance(event, Retrying) for event in events)

    def test_another_process_goes_on(self, registry: Registry, again: Make, tmp_path: Path) -> None:
        registry.fault(patches, Refuse(403, "DENIED"), skip=2)
        registry.fault(lambda method, path: method == "DELETE", Status(202), times=None)
        first = again()
        journal = tmp_path / "uploads"
        noted: list[bytes] = []
        registry.fault(patches, First(lambda: noted.extend(file.read_bytes() for file in journal.iterdir())), skip=1)
        with pytest.raises(BundleError):
            first.put(describe(BIG), [BIG])
        assert not list(journal.iterdir()), "a refusal ends it"
        registry.heal()
        registry.requests.clear()
        # What a process that was killed would have left.
        (journal / noted_name(again(), journal)).write_bytes(noted[0])
        file = InFile(tmp_path / "f", BIG)
        again().put(describe(BIG), file)
        assert read(first, describe(BIG)) == BIG
        assert asked(registry)[:2] == ["GET 204", "PATCH 202"]
        assert file.spanned == [2 * PART]
        assert not list(journal.iterdir())

    def test_a_resumed_blob_of_other_bytes_starts_over(self, registry: Registry, store: RegistryStore) -> None:
        registry.fault(patches, CutUpload(400_000), skip=1)
        damaged = registry.fault(puts, Refuse(400, "DIGEST_INVALID"))
        store.put(describe(BIG), [BIG])
        assert damaged.used == 1
        assert asked(registry)[-5:] == ["POST 202", *PARTS, "PUT 201"]
        assert read(store, describe(BIG)) == BIG

    def test_a_session_noted_for_another_server_is_not_asked(
        self, registry: Registry, again: Make, tmp_path: Path
    ) -> None:
        with Registry() as evil:
            store = again()
            Unfinished(tmp_path / "uploads").keep(
                Begun(registry.url, "team/model", str(describe(BIG).digest), len(BIG), f"{evil.url}/v2/x", PART)
            )
            store.put(describe(BIG), [BIG])
            assert evil.requests == []
        assert read(store, describe(BIG)) == BIG

    @pytest.mark.parametrize("location", ["http://[bad", "http://localhost:999999/", "", "file:///etc/passwd"])
    def test_a_damaged_note_costs_nothing(self, registry: Registry, again: Make, tmp_path: Path, location: str) -> None:
        store = again()
        Unfinished(tmp_path / "uploads").keep(
            Begun(registry.url, "team/model", str(describe(BIG).digest), len(BIG), location, PART)
        )
        store.put(describe(BIG), [BIG])
        assert read(store, describe(BIG)) == BIG
        assert not list((tmp_path / "uploads").iterdir())

    def test_all_parts_sent_and_the_end_not(self, registry: Registry, again: Make, tmp_path: Path) -> None:
        registry.fault(puts, Status(503), times=None)
        file = InFile(tmp_path / "f", BIG)
        with pytest.raises(Unavailable):
            again().put(describe(BIG), file)
        registry.heal()
        registry.requests.clear()
        again().put(describe(BIG), file)
        assert asked(registry) == ["GET 204", "PUT 201"]
        assert read(again(), describe(BIG)) == BIG

    def test_a_session_that_answers_and_cannot_be_ended_is_given_up(
        self, registry: Registry, again: Make, tmp_path: Path
    ) -> None:
        registry.fault(puts, Status(503), times=None)
        file = InFile(tmp_path / "f", BIG)
        with pytest.raises(Unavailable):
            again().put(describe(BIG), file)
        registry.heal()
        registry.fault(puts, Refuse(404, "BLOB_UPLOAD_UNKNOWN"))
        registry.requests.clear()
        again().put(describe(BIG), file)
        assert asked(registry)[:3] == ["GET 204", "PUT 404", "POST 202"]
        assert read(again(), describe(BIG)) == BIG

    def test_an_open_upload_of_a_blob_for_parts_wants_its_digest_first(
        self, registry: Registry, store: RegistryStore
    ) -> None:
        assert store.upload("f", len(BIG), [BIG]) is None
        assert asked(registry) == ["POST 202", "DELETE 204"]
        assert store.upload("f", PART, [BIG[:PART]]) == Digest.of(BIG[:PART])


def noted_name(store: RegistryStore, journal: Path) -> str:
    registry = str(store._repository.origin)
    notes = Unfinished(journal)
    notes.keep(Begun(registry, "team/model", str(describe(BIG).digest), len(BIG), "x", 0))
    [file] = journal.iterdir()
    return file.name


# --- of unknown digest


@pytest.mark.parametrize("in_file", [False, True])
def test_content_is_hashed_while_it_is_sent(
    registry: Registry, store: RegistryStore, tmp_path: Path, in_file: bool
) -> None:
    chunks = InFile(tmp_path / "f", BIG) if in_file else Pieces(BIG, 1000)
    assert store.upload("f", len(BIG), chunks) == Digest.of(BIG)
    assert asked(registry) == ["POST 202", "PATCH 202", "PUT 201"]
    assert registry.requests[1].headers["content-range"] == f"0-{len(BIG) - 1}"
    assert registry.requests[1].headers["content-length"] == str(len(BIG))


@pytest.mark.parametrize("limit", [0, 1000])
def test_a_registry_that_wants_the_digest_first_says_so_once(
    registry: Registry, store: RegistryStore, limit: int
) -> None:
    registry.habits.patch = limit
    assert store.upload("f", len(BIG), [BIG]) is None
    assert asked(registry) == ["POST 202", f"PATCH {416 if limit else 405}", "DELETE 204"]
    assert store.upload("f", len(BIG), [BIG]) is None
    assert len(registry.requests) == 3


def test_hosts_known_to_refuse_are_not_asked(client_of: Callable[[str], RegistryStore]) -> None:
    assert client_of("ghcr.io").upload("f", len(BIG), [BIG]) is None


@pytest.fixture
def client_of() -> Iterator[Callable[[str], RegistryStore]]:
    with Client() as client:
        yield lambda host: RegistryStore(client, host, "team/model")


@pytest.mark.parametrize(
    "action",
    [
        CutUpload(1_000_000),
        Status(503),
        Refuse(404, "BLOB_UPLOAD_UNKNOWN"),
        Status(502, reads_body=False),
        Headers({"Range": "0-7"}),
        Reset(done=True),
    ],
    ids=["cut", "503", "lost", "early 502", "miscount", "reset"],
)
def test_an_open_upload_is_tried_again_from_the_start(
    registry: Registry, store: RegistryStore, tmp_path: Path, action: Action
) -> None:
    registry.fault(patches, action, times=2)
    assert store.upload("f", len(BIG), InFile(tmp_path / "f", BIG)) == Digest.of(BIG)
    assert read(store, describe(BIG)) == BIG


def test_an_iterator_of_unknown_digest_has_one_try(registry: Registry, store: RegistryStore) -> None:
    registry.fault(patches, Status(503))
    with pytest.raises(Unavailable):
        store.upload("f", len(BIG), iter([BIG]))
    registry.habits.patch = 0
    with pytest.raises(Unsupported):
        store.upload("f", len(BIG), iter([BIG]))


def test_bytes_that_changed_between_sending_and_hashing_are_never_stored(
    registry: Registry, store: RegistryStore, tmp_path: Path
) -> None:
    registry.fault(puts, Refuse(400, "DIGEST_INVALID"))
    assert store.upload("f", len(BIG), InFile(tmp_path / "f", BIG)) == Digest.of(BIG)
    assert asked(registry) == ["POST 202", "PATCH 202", "PUT 400", "POST 202", "PATCH 202", "PUT 201"]


class Watched(InFile):
    """Content that somebody wants to see: what each attempt showed."""

    def __init__(self, path: Path, data: bytes) -> None:
        super().__init__(path, data)
        self.seen: list[bytearray] = []

    def watcher(self) -> Callable[[bytes | memoryview], object]:
        self.seen.append(bytearray())
        return self.seen[-1].extend


def test_each_attempt_of_an_open_upload_is_seen_from_the_start(
    registry: Registry, store: RegistryStore, tmp_path: Path
) -> None:
    content = Watched(tmp_path / "f", BIG)
    registry.fault(patches, Reset(), times=2)
    assert store.upload("f", len(BIG), content) == Digest.of(BIG)
    assert len(content.seen) == 3
    assert content.seen[-1] == BIG
