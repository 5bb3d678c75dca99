from __future__ import annotations

import json
from typing import Any

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import media, referrers
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest

SUBJECT = Digest.of(b"subject")


def manifest(**changes: Any) -> bytes:
    value = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": "application/x-config", "digest": str(Digest.of(b"c")), "size": 1},
        "layers": [],
        "subject": {"mediaType": media.OCI_MANIFEST, "digest": str(SUBJECT), "size": 7},
        **changes,
    }
    return json.dumps(value).encode()


def described(data: bytes) -> Descriptor:
    return referrers.describe(Descriptor.of(media.OCI_MANIFEST, data), data)


def test_the_tag_of_a_list_is_that_of_the_specification() -> None:
    assert referrers.fallback_tag(SUBJECT) == f"sha256-{SUBJECT.hex}"


def test_whose_list_a_tag_is() -> None:
    assert referrers.subject_of_tag(referrers.fallback_tag(SUBJECT)) == SUBJECT
    for tag in ("latest", "v1-2", f"sha256-{SUBJECT.hex}.sig", "sha256-abc", f"sha512-{SUBJECT.hex}"):
        assert referrers.subject_of_tag(tag) is None


def test_the_subject_of_a_manifest() -> None:
    assert referrers.subject_of(manifest()) == SUBJECT
    assert referrers.subject_of(manifest(subject=None)) is None
    assert referrers.subject_of(manifest(subject={"digest": "sha512:" + "a" * 128})) is None
    assert referrers.subject_of(manifest(subject={"digest": 7})) is None
    with pytest.raises(Corrupt):
        referrers.subject_of(b"no json")


def test_an_entry_has_the_artifact_type_or_the_configs_and_the_annotations() -> None:
    data = manifest(artifactType="application/x-type", annotations={"a": "b"})
    entry = described(data)
    assert (entry.artifact_type, dict(entry.annotations)) == ("application/x-type", {"a": "b"})
    assert (entry.digest, entry.size) == (Digest.of(data), len(data))
    assert described(manifest()).artifact_type == "application/x-config"
    assert described(manifest(config=None)).artifact_type is None
    with pytest.raises(Corrupt):
        described(manifest(annotations={"a": 1}))


def test_what_others_wrote_into_a_list_stays() -> None:
    theirs = {"mediaType": "x/y", "digest": "sha512:" + "a" * 128, "size": 1, "platform": {"os": "linux"}, "new": [1.5]}
    index = json.dumps({"schemaVersion": 2, "manifests": [theirs], "annotations": {"k": "v"}, "new": {"a": 1}})
    value, entries = referrers.read_list(index.encode(), "the list")
    ours = described(manifest()).to_json()
    written = json.loads(referrers.write_list(value, [*entries, ours]))
    assert written["manifests"] == [theirs, ours]
    assert written["annotations"] == {"k": "v"}
    assert written["new"] == {"a": 1}
    assert written["mediaType"] == media.OCI_INDEX


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"manifests": 3}', manifest(), b'{"manifests": [], "mediaType": "application/x"}']
)
def test_what_is_no_index_is_no_list(data: bytes) -> None:
    with pytest.raises(Corrupt):
        referrers.read_list(data, "the list")


def test_only_what_can_be_asked_for_is_listed_and_once() -> None:
    good = described(manifest(artifactType="application/x-type"))
    bad: list[dict[str, Any]] = [{}, {"mediaType": media.OCI_MANIFEST, "digest": "sha256:x", "size": 1}]
    foreign = {**good.to_json(), "mediaType": "application/x-blob", "digest": str(Digest.of(b"else"))}
    assert referrers.listed([*bad, foreign, good.to_json(), good.to_json()]) == [good]
    assert referrers.listed([good.to_json()], "application/x-type") == [good]
    assert referrers.listed([good.to_json()], "application/x-other") == []


def test_what_refers_among_many() -> None:
    data, other = manifest(artifactType="application/x-type"), manifest(subject=None)
    held = [(Descriptor.of(media.OCI_MANIFEST, one), one) for one in (data, other, b"no json")]
    assert [one.digest for one in referrers.referring(held, SUBJECT)] == [Digest.of(data)]
    assert referrers.referring(held, SUBJECT, "application/x-other") == []
    assert referrers.referring(held, Digest.of(b"another")) == []
