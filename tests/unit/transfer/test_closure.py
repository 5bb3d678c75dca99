"""What a version needs: found once each, children first, and never without end."""

from __future__ import annotations

import pytest

from modelops_bundle.errors import Corrupt, NotFound, Unsupported
from modelops_bundle.events import Run
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.transfer import closure as module
from modelops_bundle.transfer.closure import blobs_of, closure

EMPTY = Descriptor.of(media.OCI_EMPTY, b"{}")


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.put(EMPTY, [b"{}"])
    return made


def manifest(store: MemoryStore, *layers: bytes, **fields: object) -> Descriptor:
    described = []
    for data in layers:
        what = Descriptor.of("application/octet-stream", data)
        store.put(what, [data])
        described.append(what.to_json())
    value = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": EMPTY.to_json(),
        "layers": described,
        **fields,
    }
    return put(store, media.OCI_MANIFEST, value)


def index(store: MemoryStore, *children: Descriptor) -> Descriptor:
    entries = [child.to_json() for child in children]
    return put(store, media.OCI_INDEX, {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries})


def put(store: MemoryStore, kind: str, value: dict[str, object]) -> Descriptor:
    data = canonical.dumps(value)
    what = Descriptor.of(kind, data)
    store.put(what, [data])
    return what


def names(store: MemoryStore, *roots: Descriptor, referrers: bool = False) -> list[Descriptor]:
    return [node.what for node in closure(store, roots, Run(), referrers=referrers)]


def test_one_manifest_and_its_blobs(store: MemoryStore) -> None:
    root = manifest(store, b"a", b"b", b"a")
    [node] = closure(store, [root], Run())
    assert node.what == root
    assert [what.size for what in blobs_of([node])] == [2, 1, 1]


def test_children_come_first_and_once(store: MemoryStore) -> None:
    one, two = manifest(store, b"1"), manifest(store, b"2")
    inner = index(store, one, two)
    outer = index(store, inner, two)
    assert names(store, outer, one) == [one, two, inner, outer]


def test_referrers_come_after_their_subject(store: MemoryStore) -> None:
    root = manifest(store, b"1")
    first = manifest(store, b"sig", subject=root.to_json(), artifactType="a/b")
    second = manifest(store, b"sig of sig", subject=first.to_json(), artifactType="a/b")
    assert names(store, root) == [root]
    assert names(store, root, referrers=True) == [root, first, second]
    nodes = closure(store, [root], Run(), referrers=True)
    assert [node.subject for node in nodes] == [None, root.digest, first.digest]


def test_what_is_missing_is_named(store: MemoryStore) -> None:
    child = manifest(store, b"1")
    root = index(store, child)
    store.delete(child)
    with pytest.raises(NotFound, match=str(child.digest)):
        names(store, root)


@pytest.mark.parametrize(
    "value",
    [
        {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST},
        {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": {}, "layers": []},
        {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": EMPTY.to_json(), "layers": [3]},
        {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": EMPTY.to_json(), "layers": {}},
    ],
)
def test_manifests_that_do_not_say_what_they_hold(store: MemoryStore, value: dict[str, object]) -> None:
    data = canonical.dumps(value)
    what = Descriptor.of(media.OCI_MANIFEST, data)
    store._blobs[what.digest] = data
    store._manifests[what.digest] = media.OCI_MANIFEST
    with pytest.raises(Corrupt):
        names(store, what)


def test_one_content_of_two_sizes_is_a_lie(store: MemoryStore) -> None:
    one = Descriptor.of("x", b"a")
    two = Descriptor("x", one.digest, 2)
    nodes = closure(store, [manifest(store, b"a")], Run())
    lying = [module.Node(node.what, node.data, (), (one, two)) for node in nodes]
    with pytest.raises(Corrupt, match="1 and 2 bytes"):
        blobs_of(lying)


def test_depth_and_number_have_ends(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    root = manifest(store, b"x")
    for _ in range(module.DEEPEST + 1):
        root = index(store, root)
    with pytest.raises(Unsupported, match="deep"):
        names(store, root)
    monkeypatch.setattr(module, "MOST", 3)
    with pytest.raises(Unsupported, match="more than 3"):
        names(store, index(store, *(manifest(store, bytes([n])) for n in range(3))))
