from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelops_bundle.errors import NotFound
from modelops_bundle.events import Run
from modelops_bundle.model.reference import SCHEMES, parse
from modelops_bundle.net.client import Client
from modelops_bundle.stores.layout import LayoutStore
from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.stores.schemes import _FACTORIES, open_store


def no_client() -> Client:
    raise AssertionError("no client is needed")


def test_every_scheme_has_a_factory() -> None:
    assert set(_FACTORIES) == set(SCHEMES)


def test_registries(tmp_path: Path) -> None:
    store = open_store(parse("localhost:5000/team/model:v1"), client_factory=Client, root=tmp_path, run=Run())
    assert isinstance(store, RegistryStore)
    assert repr(store) == "RegistryStore('localhost:5000/team/model')"


def test_relative_layouts_are_relative_to_the_root(tmp_path: Path) -> None:
    reference = parse("layout:sub/store:v1")
    with pytest.raises(NotFound, match="no OCI layout"):
        open_store(reference, client_factory=no_client, root=tmp_path, run=Run())
    store = open_store(reference, client_factory=no_client, root=tmp_path, run=Run(), create=True)
    assert isinstance(store, LayoutStore)
    assert store.root == tmp_path / "sub" / "store"
    assert not store.root.exists()


def test_absolute_layouts_stay(tmp_path: Path) -> None:
    reference = parse(str(tmp_path / "here"))
    store = open_store(reference, client_factory=no_client, root=Path("/nowhere"), run=Run(), create=True)
    assert isinstance(store, LayoutStore)
    assert store.root == tmp_path / "here"


def test_memory_by_name(tmp_path: Path) -> None:
    first = open_store(parse("mem:schemes"), client_factory=no_client, root=tmp_path, run=Run())
    second = open_store(parse("mem:schemes:tag"), client_factory=no_client, root=tmp_path, run=Run())
    assert isinstance(first, MemoryStore)
    assert first is second


def test_an_archive_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no archive"):
        open_store(parse("tar:x.tar"), client_factory=no_client, root=tmp_path, run=Run())


def test_local_stores_import_no_network() -> None:
    import subprocess

    code = (
        "import sys; from pathlib import Path; from modelops_bundle.events import Run;"
        "from modelops_bundle.model.reference import parse; from modelops_bundle.stores.schemes import open_store;"
        "open_store(parse('layout:x'), client_factory=None, root=Path('/nowhere'), run=Run(), create=True);"
        "print([name for name in sys.modules if name.startswith(('modelops_bundle.net', 'urllib3', 'ssl', 'http'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"
