"""The questions of a health check, on real registries and on one that differs on order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelops_bundle.errors import Corrupt, Unavailable
from modelops_bundle.model.reference import parse
from modelops_bundle.net.client import Client
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores.learned import Learned
from modelops_bundle.stores.probes import Probes
from modelops_bundle.stores.repository import Repository
from modelops_bundle.testing import actions
from modelops_bundle.testing.protocol import Response
from modelops_bundle.testing.registry import Registry


@pytest.fixture
def fake() -> Iterator[Registry]:
    with Registry() as fake:
        yield fake


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(policy=Policy(base=0.0)) as client:
        yield client


def probes(client: Client, place: str, learned: Learned | None = None) -> Probes:
    reference = parse(place)
    return Probes(Repository(client, reference.host, reference.repository), learned or Learned())


def test_a_real_registry(client: Client, repo: str) -> None:
    learned = Learned()
    asked = probes(client, repo, learned)
    assert asked.root(login=False).status == 200
    blob = asked.push()
    assert asked.part(blob).ranges
    assert asked.mounts(blob)
    assert not asked.referrers(blob)
    assert asked.delete(blob)
    assert not asked.delete(blob)
    known = learned.all(parse(repo).host)
    assert (known["ranges"], known["mounts"], known["referrers"]) == (True, True, False)


def test_the_second_implementation(client: Client, crane_host: str) -> None:
    asked = probes(client, f"{crane_host}/team/model")
    blob = asked.push()
    assert asked.part(blob).ranges
    asked.mounts(blob)
    assert not asked.referrers(blob)


def test_every_blob_is_another_one(client: Client, fake: Registry) -> None:
    asked = probes(client, f"{fake.host}/team/model")
    assert asked.push() != asked.push()


@pytest.mark.parametrize("habit", [True, False])
def test_abilities_are_told_apart(client: Client, fake: Registry, habit: bool) -> None:
    fake.habits.mounts = fake.habits.referrers = fake.habits.deletes = habit
    asked = probes(client, f"{fake.host}/team/model")
    blob = asked.push()
    assert asked.mounts(blob) is habit
    assert asked.referrers(blob) is habit
    assert asked.delete(blob) is habit


def test_a_mount_that_is_not_done_leaves_no_upload(client: Client, fake: Registry) -> None:
    fake.habits.mounts = False
    asked = probes(client, f"{fake.host}/team/model")
    asked.mounts(asked.push())
    assert fake.asked("DELETE", "/blobs/uploads/")


def test_another_part_is_corrupt(client: Client, fake: Registry) -> None:
    asked = probes(client, f"{fake.host}/team/model")
    blob = asked.push()
    fake.fault(lambda method, path: method == "GET" and "/blobs/" in path, actions.Corrupt(), times=None)
    with pytest.raises(Corrupt, match="other bytes"):
        asked.part(blob)


def test_where_downloads_come_from(client: Client, fake: Registry) -> None:
    with Registry() as other:
        asked = probes(client, f"{fake.host}/team/model")
        blob = asked.push()
        place = f"/v2/team/model/blobs/{blob.digest}"
        answer = Response(206, {"Content-Range": "bytes 3-8/64"}, b"elops-")

        class Elsewhere(actions.Action):
            def before(self, call: object) -> Response:  # type: ignore[override]
                return answer

        other.fault(lambda *_: True, Elsewhere())
        fake.fault(lambda method, path: method == "GET", actions.Redirect(f"{other.url}{place}"))
        received = asked.part(blob)
        assert received.ranges
        assert received.host == other.host


@pytest.mark.parametrize("status", [200, 404])
def test_what_is_no_registry(client: Client, fake: Registry, status: int) -> None:
    page = actions.Status(status, {"Content-Type": "text/html", "Docker-Distribution-Api-Version": ""}, b"<html>")
    fake.fault(lambda *_: True, page, times=None)
    with pytest.raises(Unavailable, match="no registry"):
        probes(client, f"{fake.host}/team/model").root(login=False)
