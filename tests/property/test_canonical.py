"""Canonical JSON: one value, one spelling; whatever else arrives is refused in our words."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import canonical
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from tests.support.strategies import json_objects, texts

LIMIT = 1 << 20


@given(json_objects)
def test_parse_of_print_is_the_value(value: dict[str, Any]) -> None:
    assert canonical.loads(canonical.dumps(value), "it", limit=LIMIT) == value


@given(json_objects)
def test_print_of_parse_of_any_spelling_is_the_canonical_one(value: dict[str, Any]) -> None:
    spelled = json.dumps(dict(reversed(value.items())), indent=2).encode()
    assert canonical.dumps(canonical.loads(spelled, "it", limit=LIMIT)) == canonical.dumps(value)


@given(json_objects, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical.dumps({key: value[key] for key in keys}) == canonical.dumps(value)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ u0d8NaIinfty-1e.\ufeff', max_size=60).map(str.encode))
def test_garbage_is_corrupt_or_plain_json(data: bytes) -> None:
    try:
        value = canonical.loads(data, "it", limit=LIMIT)
    except Corrupt as error:
        assert len(error.message) < 300
    else:
        assert value == json.loads(data)
        canonical.dumps(value)


@given(json_objects, st.data())
def test_any_damaged_byte_is_corrupt_or_another_value_never_a_crash(value: dict[str, Any], data: st.DataObject) -> None:
    bad = bytearray(canonical.dumps(value))
    bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    try:
        canonical.loads(bytes(bad), "it", limit=LIMIT)
    except Corrupt:
        pass


digests = st.binary(max_size=4).map(Digest.of)
descriptors = st.builds(
    Descriptor,
    st.sampled_from(["a/b", "application/vnd.cncf.model.weight.v1.raw"]),
    digests,
    st.integers(0, 1 << 60),
    st.dictionaries(texts, texts, max_size=3),
    st.none(),
    st.none() | st.just("x/y"),
) | st.binary(max_size=9).map(lambda data: Descriptor.of("a/b", data, inline=True))


@given(descriptors)
def test_descriptors_survive_json(what: Descriptor) -> None:
    assert Descriptor.from_json(json.loads(canonical.dumps(what.to_json()))) == what


@given(
    descriptors,
    st.lists(descriptors, max_size=4),
    st.dictionaries(texts, texts, max_size=3),
    st.none() | st.just("a/b"),
)
def test_manifests_survive_their_bytes(
    config: Descriptor, layers: list[Descriptor], annotations: dict[str, str], kind: str | None
) -> None:
    made = Manifest(config, tuple(layers), annotations, kind)
    again = Manifest.from_bytes(made.to_bytes())
    assert again.digest == made.digest
    assert (again.config, again.layers, dict(again.annotations), again.artifact_type) == (
        made.config,
        made.layers,
        annotations,
        kind,
    )
