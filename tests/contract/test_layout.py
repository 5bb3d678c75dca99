from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.stores.layout import LayoutStore
from modelops_bundle.testing.store_contract import StoreContract


class TestLayoutStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LayoutStore:
        return LayoutStore(tmp_path / "layout", create=True)

    @pytest.fixture
    def another(self, store: LayoutStore) -> LayoutStore:
        return LayoutStore(store.root, create=True)
