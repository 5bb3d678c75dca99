"""Whatever JSON a hub sends: a resolution that is safe, or an error of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import BundleError
from modelops_bundle.model.remote import Heard
from modelops_bundle.sources import schemes

WORDS = (
    "sha id path type size oid lfs siblings cardData license gated modelVersions files name hashes SHA256 CRC32 primary"
    " sizeKB metadata model mode modelId downloadUrl Data Files Path Type Sha256 Size Success License"
).split()
TEXTS = st.one_of(
    st.sampled_from(
        ["file", "blob", "tree", "a" * 40, "b" * 64, "B" * 64, "a/b.bin", "../x", "/etc/passwd", "Model", "con", ""]
    ),
    st.text(max_size=8),
)
NUMBERS = st.one_of(st.integers(-5, 10**6), st.floats(allow_nan=False), st.booleans(), st.none())
VALUES = st.recursive(
    st.one_of(TEXTS, NUMBERS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=8)),
    max_leaves=25,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("file"),
        "Type": st.just("blob"),
        "path": TEXTS,
        "Path": TEXTS,
        "size": NUMBERS,
        "Size": NUMBERS,
        "oid": TEXTS,
        "lfs": VALUES,
        "id": NUMBERS,
        "name": TEXTS,
        "hashes": VALUES,
        "Sha256": TEXTS,
    },
)
FILES = st.lists(ENTRY, max_size=3)
DOCUMENTS = st.one_of(
    VALUES,
    FILES,
    st.builds(
        lambda files: {"sha": "a" * 40, "id": 3, "files": files, "modelVersions": [{"id": 4, "files": files}]}, FILES
    ),
    st.builds(lambda files: {"sha": "a" * 40, "Success": True, "Data": {"Files": files}}, FILES),
)


class Liar:
    """A context whose answers are all made up."""

    def __init__(self, documents: list[Any]) -> None:
        self._documents = documents

    def ask(self, url: str, **more: Any) -> Heard:
        document = self._documents.pop(0) if len(self._documents) > 1 else self._documents[0]
        return Heard(200, {"content-type": "application/json"}, json.dumps(document).encode(), url)

    def endpoint(self, name: str) -> None:
        return None


@pytest.mark.parametrize(
    "address",
    [
        "hf://ns/name",
        "hf://ns/name/a?quant=Q4_0",
        "civitai://3",
        "civitai://3@4?file=*",
        "ms://ns/name",
        "ms://datasets/a/b",
    ],
)
@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=3))
def test_no_answer_breaks_a_resolver(address: str, documents: list[Any]) -> None:
    uri, resolver = schemes.read(address)
    liar: Any = Liar(documents)
    try:
        found = resolver.resolve(uri, liar)
    except BundleError:
        return
    assert schemes.read(found.pinned)[1].name == resolver.name
    for file in found.files:
        assert file.places[0].url.startswith("https://")
