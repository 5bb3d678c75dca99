from __future__ import annotations

import pytest

from modelops_bundle.stores.memory import MemoryStore, named
from modelops_bundle.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


def test_a_name_means_one_store() -> None:
    assert named("one-name") is named("one-name")
    assert named("one-name") is not named("another-name")
