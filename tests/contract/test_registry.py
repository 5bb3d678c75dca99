"""The store contract over HTTP: against the in-process registry and a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelops_bundle.model.reference import parse
from modelops_bundle.net.client import Client
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing.registry import Registry
from modelops_bundle.testing.store_contract import StoreContract


@pytest.fixture(scope="module")
def in_process() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(policy=Policy(base=0.01)) as client:
        yield client


class TestInProcess(StoreContract):
    @pytest.fixture
    def store(self, in_process: Registry, client: Client, request: pytest.FixtureRequest) -> RegistryStore:
        in_process.repositories.clear()
        return RegistryStore(client, in_process.host, "team/model")

    @pytest.fixture
    def another(self, store: RegistryStore, in_process: Registry) -> Iterator[RegistryStore]:
        with Client() as client:
            yield RegistryStore(client, in_process.host, "team/model")


class TestWithoutReferrersApi(TestInProcess):
    """A registry as distribution is: clients keep the lists of referrers."""

    @pytest.fixture
    def store(self, in_process: Registry, client: Client) -> Iterator[RegistryStore]:
        in_process.repositories.clear()
        in_process.habits.referrers = in_process.habits.conditions = False
        yield RegistryStore(client, in_process.host, "team/model")
        in_process.habits.referrers = in_process.habits.conditions = True


@pytest.mark.registry
class TestReal(StoreContract):
    @pytest.fixture
    def store(self, repo: str, client: Client) -> RegistryStore:
        reference = parse(repo)
        return RegistryStore(client, reference.host, reference.repository)
