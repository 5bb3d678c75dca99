"""The parts that all source addresses share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import UsageError
from modelops_bundle.model import source_text
from tests.support.canary import secret

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@given(TEXT)
def test_encoded_text_decodes_to_itself_and_ends_nothing(text: str) -> None:
    written = source_text.encoded(text)
    assert source_text.decoded(written, "") == text
    assert not set(written) & set("?# \t\n")


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), TEXT.filter(bool)), max_size=4))
def test_queries_read_back(pairs: list[tuple[str, str]]) -> None:
    found = source_text.parameters(source_text.query_of(pairs).removeprefix("?"), ("a", "b"), "x")
    assert found == {name: [v for n, v in pairs if n == name] for name in {n for n, _ in pairs}}


@pytest.mark.parametrize("text", ["", " a", "a\n", "a\x00b", "a\udc80", "a" * 9000, "a\x85b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        source_text.check(text)


@pytest.mark.parametrize("text", ["%ff", "%00", "a%0Ab", "%7f"])
def test_percent_encoding_hides_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        source_text.decoded(text, "whole")


@pytest.mark.parametrize("query", ["a=%00", "a=%ff", "b=1"])
def test_bad_parameters_are_refused(query: str) -> None:
    with pytest.raises(UsageError):
        source_text.parameters(query, ("a",), "whole")


def test_a_refusal_repeats_no_secret() -> None:
    with pytest.raises(UsageError) as raised:
        source_text.refuse(f"https://me:{secret()}@host/x?sig={secret('token')}", "no")
    assert raised.value.message == "not a source address: 'https://***@host/x'"
    with pytest.raises(UsageError) as raised:
        source_text.parameters(f"token={secret('token')}", ("token",), "whole")
    assert "HF_TOKEN" in str(raised.value.hint)
    assert "canary" not in raised.value.message.lower()


def test_two_spellings_of_one_thing_agree_or_are_refused() -> None:
    assert source_text.agree("a", "a", "revision", "x") == "a"
    assert source_text.agree(None, "a", "revision", "x") == "a"
    with pytest.raises(UsageError, match="not a source address") as raised:
        source_text.agree("a", "b", "revision", "x")
    assert raised.value.hint == "it names two revisions: a and b"
    with pytest.raises(UsageError):
        source_text.single({"rev": ["a", "b"]}, "rev", "x")
    assert source_text.single({"rev": ["a", "a"]}, "rev", "x") == "a"
