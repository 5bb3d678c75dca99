from __future__ import annotations

import pytest

from modelops_bundle.errors import Corrupt, Unavailable
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import ABSENT, Atomic, Lister, Store, Untagger
from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.testing.faults import FaultyStore, broken, cut, flip
from modelops_bundle.testing.store_contract import StoreContract, describe, make_manifest, put, read


class TestWithoutOrdersItIsAStore(StoreContract):
    @pytest.fixture
    def store(self) -> FaultyStore:
        return FaultyStore.around(MemoryStore())


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore.around(MemoryStore())


def down() -> Exception:
    return Unavailable("down")


def test_abilities_are_those_of_the_store() -> None:
    class Plain:
        has = open = put = resolve = tag = None

    atomic = FaultyStore.around(MemoryStore())
    assert isinstance(atomic, Atomic) and isinstance(atomic, Lister) and isinstance(atomic, Untagger)
    plain: Store = Plain()  # type: ignore[assignment]
    assert not isinstance(FaultyStore.around(plain), Atomic)
    assert FaultyStore.around(plain).untag("x", describe(b"")) is False


def test_the_nth_call_fails(store: FaultyStore) -> None:
    what = put(store, b"x")
    store.fail("has", down, at=2, times=2)
    assert store.has(what)
    for _ in range(2):
        with pytest.raises(Unavailable):
            store.has(what)
    assert store.has(what)
    assert store.calls == [("put", str(what.digest))] + [("has", str(what.digest))] * 4


@pytest.mark.parametrize("method", ["has", "open", "put", "resolve", "tag", "tags", "untag"])
def test_every_method_can_fail_for_ever(store: FaultyStore, method: str) -> None:
    what, data = make_manifest(store, b"x")
    store.fail(method, down, times=None)  # type: ignore[arg-type]
    use = {
        "has": lambda: store.has(what),
        "open": lambda: read(store, what),
        "put": lambda: store.put(what, [data]),
        "resolve": lambda: store.resolve("v1"),
        "tag": lambda: store.tag("v1", what, data, ABSENT),
        "tags": store.tags,
        "untag": lambda: store.untag("v1", what),
    }[method]
    for _ in range(3):
        with pytest.raises(Unavailable):
            use()


def test_work_may_be_done_before_the_failure(store: FaultyStore) -> None:
    what = describe(b"x")
    store.fail("put", down, when="after")
    with pytest.raises(Unavailable):
        store.put(what, [b"x"])
    assert store.has(what)


def test_content_can_be_mangled(store: FaultyStore) -> None:
    what = put(store, b"0123456789")
    store.mangle("open", cut(4))
    store.mangle("open", flip(2))
    store.mangle("open", broken(3, down))
    assert read(store, what) == b"0123"
    assert read(store, what) == b"01" + bytes([ord("2") ^ 0xFF]) + b"3456789"
    with pytest.raises(Unavailable):
        read(store, what)
    assert read(store, what) == b"0123456789"


def test_content_can_be_mangled_on_its_way_in(store: FaultyStore) -> None:
    what: Descriptor = describe(b"abc")
    store.mangle("put", flip(0))
    with pytest.raises(Corrupt):
        store.put(what, [b"abc"])
    assert not store.has(what)
