"""What can happen to a large upload: each ends in a stored blob or a clean error, and can be gone on with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelops_bundle.errors import Interrupted, Unavailable, Unsupported
from modelops_bundle.events import Event, Requested, Retrying, Run
from modelops_bundle.model.digest import Digest
from modelops_bundle.net.client import Client
from modelops_bundle.net.options import NetOptions
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores import registries
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing import actions
from modelops_bundle.testing.contents import InFile
from modelops_bundle.testing.registry import Registry
from modelops_bundle.testing.store_contract import describe, read
from tests.support.registry_process import Registry as Real
from tests.support.tree import ROOT

PART = 1024 * 1024
DATA = os.urandom(4 * PART)
WHAT = describe(DATA)


@pytest.fixture
def fake() -> Iterator[Registry]:
    with Registry() as fake:
        yield fake


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def client(events: list[Event]) -> Iterator[Client]:
    options = NetOptions(stall_timeout=0.5)
    with Client(options, run=Run(emit=events.append), policy=Policy(base=0.0)) as client:
        yield client


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "DISTRIBUTION", replace(registries.DISTRIBUTION, part=PART, parts_from=2 * PART))


def patches(method: str, path: str) -> bool:
    return method == "PATCH"


def asked(events: list[Event]) -> list[str]:
    return [f"{event.method} {event.status}" for event in events if isinstance(event, Requested)]


# --- the process is killed

_CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
from modelops_bundle.net.client import Client
from modelops_bundle.stores import registries
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing.contents import InFile
from modelops_bundle.testing.store_contract import describe

host, folder = sys.argv[1], Path(sys.argv[2])
registries.DISTRIBUTION = replace(registries.DISTRIBUTION, part=1 << 20, parts_from=2 << 20)
data = (folder / "data").read_bytes()
with Client() as client:
    RegistryStore(client, host, "team/model", folder / "uploads").put(describe(data), InFile(folder / "copy", data))
"""


@pytest.mark.parametrize("keeps", [True, False], ids=["keeps what came", "loses the session"])
def test_after_a_kill_the_next_process_goes_on(
    fake: Registry, client: Client, events: list[Event], tmp_path: Path, keeps: bool
) -> None:
    (tmp_path / "data").write_bytes(DATA)
    fake.habits.keeps = keeps
    stall = actions.Stall(headers=False, body=False)
    fake.fault(patches, stall, skip=2)
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, fake.host, str(tmp_path)], env={"PYTHONPATH": str(ROOT), "PATH": ""}
    )
    try:
        assert stall.reached.wait(60)
    finally:
        child.kill()
        child.wait()
    if not keeps:
        fake.protocol.restart()
    stall.release()
    assert str(WHAT.digest) not in fake.protocol.repository("team/model").blobs
    assert len(list((tmp_path / "uploads").iterdir())) == 1
    file = InFile(tmp_path / "again", DATA)
    store = RegistryStore(client, fake.host, "team/model", tmp_path / "uploads")
    store.put(WHAT, file)
    assert file.spanned == ([2 * PART] if keeps else [0])
    assert asked(events)[0] == ("GET 204" if keeps else "GET 404")
    assert read(store, WHAT) == DATA
    assert list((tmp_path / "uploads").iterdir()) == []


def test_after_ctrl_c_the_next_process_goes_on(fake: Registry, tmp_path: Path, events: list[Event]) -> None:
    run = Run()
    fake.fault(patches, actions.First(run.cancel), skip=1)
    with Client(run=run) as client, pytest.raises(Interrupted):
        RegistryStore(client, fake.host, "team/model", tmp_path / "uploads").put(WHAT, InFile(tmp_path / "f", DATA))
    assert fake.protocol.uploads == 1
    file = InFile(tmp_path / "f", DATA)
    with Client(run=Run(emit=events.append)) as client:
        RegistryStore(client, fake.host, "team/model", tmp_path / "uploads").put(WHAT, file)
    assert asked(events)[0] == "GET 204"
    assert file.spanned[0] >= PART


# --- the way to the registry


@pytest.mark.parametrize("body", [False, True], ids=["does not read", "does not answer"])
@pytest.mark.parametrize("how", ["known", "open"])
def test_a_registry_that_stalls(
    fake: Registry, client: Client, events: list[Event], tmp_path: Path, body: bool, how: str
) -> None:
    # More than the buffers of a loopback connection hold.
    data = DATA * 6
    fake.habits.state = False
    stall = actions.Stall(headers=False, body=body)
    fake.fault(lambda method, path: method in ("PUT", "PATCH"), stall)
    store = RegistryStore(client, fake.host, "team/model")
    try:
        if how == "known":
            store.put(describe(data), InFile(tmp_path / "f", data))
        else:
            assert store.upload("f", len(data), InFile(tmp_path / "f", data)) == Digest.of(data)
    finally:
        stall.release()
    assert any(isinstance(event, Retrying) and "sent nothing" in event.why for event in events)
    assert read(store, describe(data)) == data


@pytest.mark.parametrize("at", [0, 1, 500_000, PART - 1])
@pytest.mark.parametrize("keeps", [True, False])
def test_a_cut_anywhere(fake: Registry, client: Client, tmp_path: Path, at: int, keeps: bool) -> None:
    fake.habits.keeps = keeps
    for skip in (0, 1, 3):
        fake.fault(patches, actions.CutUpload(at), skip=skip)
    store = RegistryStore(client, fake.host, "team/model")
    store.put(WHAT, InFile(tmp_path / "f", DATA))
    assert read(store, WHAT) == DATA


def test_a_registry_that_is_gone_leaves_what_is_needed_to_go_on(fake: Registry, client: Client, tmp_path: Path) -> None:
    fake.fault(patches, actions.Status(503), times=None, skip=2)
    store = RegistryStore(client, fake.host, "team/model", tmp_path / "uploads")
    with pytest.raises(Unavailable):
        store.put(WHAT, InFile(tmp_path / "f", DATA))
    [note] = (tmp_path / "uploads").iterdir()
    assert note.stat().st_mode & 0o777 == 0o600
    fake.heal()
    file = InFile(tmp_path / "f", DATA)
    RegistryStore(client, fake.host, "team/model", tmp_path / "uploads").put(WHAT, file)
    assert file.spanned == [2 * PART]


def test_a_redirected_upload_is_a_clean_error(fake: Registry, client: Client, tmp_path: Path) -> None:
    fake.fault(patches, actions.Redirect("http://127.0.0.1:1/x"), times=None)
    store = RegistryStore(client, fake.host, "team/model")
    with pytest.raises((Unavailable, Unsupported)):
        store.put(WHAT, InFile(tmp_path / "f", DATA))
    assert fake.protocol.uploads == 0, "the session was taken back"


# --- the distribution registry itself


@pytest.fixture
def repository(repo: str) -> tuple[str, str]:
    host, _, name = repo.removeprefix("oci://").partition("/")
    return host, name


@pytest.mark.registry
def test_distribution_goes_on_at_the_end_of_a_part(
    repository: tuple[str, str], client: Client, events: list[Event], tmp_path: Path
) -> None:
    sent: list[None] = []

    def count(event: Event) -> None:
        events.append(event)
        if isinstance(event, Requested) and event.method == "PATCH":
            sent.append(None)
            if len(sent) == 2:
                run.cancel()

    run = Run(emit=count)
    with Client(run=run) as first, pytest.raises(Interrupted):
        RegistryStore(first, *repository, tmp_path / "uploads").put(WHAT, InFile(tmp_path / "f", DATA))
    events.clear()
    file = InFile(tmp_path / "f", DATA)
    store = RegistryStore(client, *repository, tmp_path / "uploads")
    store.put(WHAT, file)
    assert asked(events) == ["GET 204", "PATCH 202", "PATCH 202", "PUT 201"]
    assert file.spanned == [2 * PART]
    assert read(store, WHAT) == DATA


@pytest.mark.registry
def test_distribution_restarts_in_the_middle(
    registry: Real, repository: tuple[str, str], client: Client, tmp_path: Path
) -> None:
    restarted: list[None] = []

    def restart(event: Event) -> None:
        if isinstance(event, Requested) and event.method == "PATCH" and not restarted:
            restarted.append(None)
            registry.restart()

    with Client(run=Run(emit=restart), policy=Policy(base=0.01)) as watching:
        store = RegistryStore(watching, *repository, tmp_path / "uploads")
        store.put(WHAT, InFile(tmp_path / "f", DATA))
    assert restarted
    assert read(store, WHAT) == DATA


@pytest.mark.registry
def test_distribution_mounts_and_takes_open_uploads(
    repository: tuple[str, str], client: Client, events: list[Event], tmp_path: Path
) -> None:
    host, name = repository
    base, store = RegistryStore(client, host, f"{name}-base"), RegistryStore(client, host, name)
    data = DATA[: 2 * PART - 1]
    assert base.upload("f", len(data), InFile(tmp_path / "f", data)) == Digest.of(data)
    events.clear()
    assert store.mount(describe(data), iter(()), [f"{name}-base"]) is True
    assert asked(events) == ["POST 201"]
    assert read(store, describe(data)) == data
