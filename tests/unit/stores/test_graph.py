from __future__ import annotations

import json

import pytest

from modelops_bundle.errors import Corrupt, NotFound
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.stores import graph


class Held:
    """Manifests by digest."""

    def __init__(self) -> None:
        self.data: dict[Digest, bytes] = {}

    def manifest(self, *layers: bytes) -> Descriptor:
        parts = [Descriptor.of("application/x", layer).to_json() for layer in layers]
        return self._keep(media.OCI_MANIFEST, {"config": parts[0], "layers": parts[1:]})

    def index(self, *manifests: Descriptor) -> Descriptor:
        return self._keep(media.OCI_INDEX, {"manifests": [one.to_json() for one in manifests]})

    def attachment(self, subject: Descriptor) -> Descriptor:
        value = {"config": Descriptor.of("application/x", b"c").to_json(), "layers": [], "subject": subject.to_json()}
        return self._keep(media.OCI_MANIFEST, value)

    def _keep(self, kind: str, value: dict[str, object]) -> Descriptor:
        data = json.dumps({"schemaVersion": 2, "mediaType": kind, **value}).encode()
        what = Descriptor.of(kind, data)
        self.data[what.digest] = data
        return what

    def read(self, what: Descriptor) -> bytes:
        if what.digest not in self.data:
            raise NotFound("not here")
        return self.data[what.digest]


@pytest.fixture
def held() -> Held:
    return Held()


def test_an_index_needs_all_below_it(held: Held) -> None:
    one, two = held.manifest(b"c", b"a"), held.manifest(b"c", b"b")
    top = held.index(held.index(one), two)
    found, whole = graph.reachable([top], held.read)
    assert whole
    assert {Digest.of(data) for data in (b"a", b"b", b"c")} | {one.digest, two.digest, top.digest} < found


def test_what_cannot_be_read_is_told(held: Held) -> None:
    one = held.manifest(b"c", b"a")
    top = held.index(one)
    del held.data[one.digest]
    found, whole = graph.reachable([top], held.read)
    assert not whole
    assert one.digest in found


def test_indexes_that_are_deeper_than_anybody_needs_are_not_followed(held: Held) -> None:
    top = held.manifest(b"c")
    for _ in range(graph.DEEPEST + 2):
        top = held.index(top)
    assert graph.reachable([top], held.read)[1] is False
    assert len(graph.manifests([top], held.read)) == graph.DEEPEST


def test_content_with_addresses_of_its_own_is_not_needed() -> None:
    layer = {**Descriptor.of("application/x", b"a").to_json(), "urls": ["https://example.com"]}
    assert graph.needs(json.dumps({"layers": [layer]}).encode()) == []
    with pytest.raises(Corrupt):
        graph.needs(b'{"layers": [{"digest": "x"}]}')


def test_manifests_in_indexes_are_found_and_others_left_out(held: Held) -> None:
    one, lost = held.manifest(b"c", b"a"), held.manifest(b"d")
    del held.data[lost.digest]
    top = held.index(one, lost)
    assert graph.manifests([top, one], held.read).keys() == {top.digest, one.digest}


def test_what_refers_to_another_one(held: Held) -> None:
    one = held.manifest(b"c", b"a")
    first, second = held.attachment(one), held.attachment(held.manifest(b"c", b"b"))
    found = graph.attached([one, held.index(first), second], held.read)
    assert [(what.digest, data) for what, data in found] == [
        (what.digest, held.data[what.digest]) for what in (second, first)
    ]
