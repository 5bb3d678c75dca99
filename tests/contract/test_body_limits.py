"""A limit on the size of requests, of the registry or of a proxy before it: large blobs go in parts that fit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.errors import BundleError, Unsupported
from modelops_bundle.net.client import Client
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores import uploads
from modelops_bundle.stores.learned import Learned
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing import actions
from modelops_bundle.testing.contents import InFile
from modelops_bundle.testing.registry import Registry
from modelops_bundle.testing.store_contract import describe, read

MIB = 1024 * 1024
DATA = os.urandom(5 * MIB)
WHAT = describe(DATA)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PARTS", (4 * MIB, 2 * MIB, MIB))


@pytest.fixture
def fake() -> Iterator[Registry]:
    with Registry() as fake:
        fake.habits.state = False
        yield fake


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(policy=Policy(base=0.0)) as client:
        yield client


def is_upload(method: str, path: str) -> bool:
    return method in ("PUT", "PATCH")


def sent(fake: Registry) -> list[tuple[str, int, int]]:
    return [
        (one.method, int(one.headers.get("content-length", "0")), one.status)
        for one in fake.requests
        if one.method in ("PUT", "PATCH")
    ]


@pytest.mark.parametrize(("limit", "part"), [(4 * MIB, 4 * MIB), (3 * MIB, 2 * MIB), (MIB, MIB)])
def test_a_blob_over_the_limit_goes_in_parts_that_fit(
    fake: Registry, client: Client, tmp_path: Path, limit: int, part: int
) -> None:
    fake.fault(is_upload, actions.Most(limit), times=None)
    learned = Learned()
    RegistryStore(client, fake.host, "team/model", learned=learned).put(WHAT, InFile(tmp_path / "f", DATA))
    store = RegistryStore(client, fake.host, "team/model", learned=learned)
    assert read(store, WHAT) == DATA
    taken = [size for method, size, status in sent(fake) if method == "PATCH" and status < 300]
    assert max(taken) == part
    assert sum(taken) == len(DATA)

    fake.requests.clear()
    again = describe(DATA + b"1")
    store.put(again, InFile(tmp_path / "g", DATA + b"1"))
    assert [status for _, _, status in sent(fake) if status >= 400] == []


def test_a_limit_that_is_told_by_hanging_up(fake: Registry, client: Client, tmp_path: Path) -> None:
    fake.fault(lambda method, _: method == "PUT", actions.Status(413, reads_body=False))
    store = RegistryStore(client, fake.host, "team/model")
    store.put(WHAT, InFile(tmp_path / "f", DATA))
    assert read(store, WHAT) == DATA


def test_a_limit_nothing_fits_into_is_said(fake: Registry, client: Client, tmp_path: Path) -> None:
    fake.fault(is_upload, actions.Most(MIB - 1), times=None)
    with pytest.raises(Unsupported, match="413") as caught:
        RegistryStore(client, fake.host, "team/model").put(WHAT, InFile(tmp_path / "f", DATA))
    assert "limits the size" in (caught.value.hint or "")


def test_a_limit_before_a_registry_without_parts_is_said(fake: Registry, client: Client, tmp_path: Path) -> None:
    fake.habits.patch = 0
    fake.fault(lambda method, _: method == "PUT", actions.Most(MIB), times=None)
    with pytest.raises(BundleError) as caught:
        RegistryStore(client, fake.host, "team/model").put(WHAT, InFile(tmp_path / "f", DATA))
    assert caught.value.exit_code == 10
