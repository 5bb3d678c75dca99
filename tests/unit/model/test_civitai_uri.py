"""Addresses of CivitAI: values and their spelling. The examples stand in test_source_uri."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import UsageError
from modelops_bundle.model.civitai_uri import FILTERS, CivitaiUri, is_host
from modelops_bundle.model.source_uri import parse
from tests.support.canary import secret

NUMBER = st.integers(1, 10**12)
MAYBE = st.one_of(st.none(), NUMBER)
VALUE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=10).filter(
    lambda text: "\ufffd" not in text
)


@st.composite
def addresses(draw: st.DrawFn) -> CivitaiUri:
    if draw(st.booleans()):
        return CivitaiUri(hash=draw(st.from_regex(r"[0-9A-F]{8}([0-9A-F]{2}){0,2}", fullmatch=True)))
    model = draw(MAYBE)
    version = draw(MAYBE if model else NUMBER)
    filters = tuple((name, draw(VALUE)) for name in FILTERS if draw(st.booleans()))
    return CivitaiUri(model, version, draw(MAYBE), filters=filters, name=draw(st.one_of(st.none(), VALUE)))


@given(addresses())
def test_every_value_reads_back(uri: CivitaiUri) -> None:
    assert parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "civitai://",
        "civitai://abc",
        "civitai://0",
        "civitai://12@",
        "civitai://12+x",
        "civitai://12@3?version=4",
        "civitai://12?nonsense=1",
        "civitai://hash/xyz",
        "civitai://hash/123",
        "civitai://12#sha256=0",
        "civitai://1234567890123456",
        "urn:air:sd1:model:huggingface:ns/name",
        "urn:air:sd1:model:civitai:abc",
        "urn:air:sd1:model:civitai:12.exe",
        "https://civitai.com/user/somebody",
        "https://civitai.com/",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert raised.value.hint


def test_a_token_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as raised:
        parse(f"https://civitai.com/api/download/models/7?token={secret('token')}")
    assert raised.value.message == "the address holds a secret, as token="


@pytest.mark.parametrize(
    ("host", "ours"),
    [("civitai.com", True), ("image.civitai.green", True), ("civitai.com.evil.org", False), ("xcivitai.com", False)],
)
def test_hosts_match_exactly(host: str, ours: bool) -> None:
    assert is_host(host) is ours
