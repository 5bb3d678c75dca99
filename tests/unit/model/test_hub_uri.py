"""Addresses of Hugging Face and ModelScope: values and their spelling. The examples stand in test_source_uri."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import UnsafePath, UsageError
from modelops_bundle.model import paths
from modelops_bundle.model.hub_uri import KINDS, HubScheme, HubUri
from modelops_bundle.model.source_uri import parse

NAME = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,8}[A-Za-z0-9_])?", fullmatch=True).filter(
    lambda name: "--" not in name and ".." not in name and name not in KINDS["hf"]
)
PART = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12)
PATH = st.lists(PART, min_size=1, max_size=3).map("/".join)
REVISION = st.one_of(
    st.none(),
    st.from_regex(r"refs/(pr/[0-9]{1,3}|convert/[a-z]{1,8})", fullmatch=True),
    st.from_regex(r"[a-z0-9]([a-z0-9/._+%#-]{0,8}[a-z0-9])?", fullmatch=True).filter(
        lambda text: ".." not in text and "//" not in text and not text.endswith(".lock")
    ),
)
GLOBS = st.lists(st.from_regex(r"[a-z*&=+ %.]{1,8}", fullmatch=True).filter(str.strip), max_size=2, unique=True).map(
    tuple
)


@st.composite
def addresses(draw: st.DrawFn) -> HubUri:
    scheme: HubScheme = draw(st.sampled_from(["hf", "modelscope"]))
    path = draw(st.one_of(st.just(""), PATH))
    if "*" in path or "?" in path or "[" in path:
        path = "" if {"", ".", ".."} & set(path.split("/")) else path
    elif paths.problem(path):
        path = ""
    return HubUri(
        scheme,
        draw(st.sampled_from(KINDS[scheme])),
        f"{draw(NAME)}/{draw(NAME)}",
        draw(REVISION),
        path,
        draw(st.one_of(st.none(), st.from_regex(r"I?Q[2-8]_[A-Z0-9_]{1,4}", fullmatch=True))),
        draw(GLOBS),
        draw(GLOBS),
    )


@given(addresses())
def test_every_value_reads_back(uri: HubUri) -> None:
    assert parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "hf://ns/name@/x",
        "hf://ns/name@main?rev=other",
        "hf://-ns/name",
        "hf://ns/na--me",
        "hf://ns/name@a..b",
        "hf://ns/name@-x",
        "hf://ns/name@a%20b",
        "hf://ns/name#x",
        "hf://ns/name?what=1",
        "hf://ns/name/*/../x",
        "hf:///name",
        "ms://name",
        "modelscope://spaces/ns/name/x@y@z/../..",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises((UsageError, UnsafePath)) as raised:
        parse(text)
    assert raised.value.hint or isinstance(raised.value, UnsafePath)


def test_an_empty_filter_is_none() -> None:
    assert parse("hf://datasets/gpt2?include=") == HubUri("hf", "datasets", "gpt2")


@pytest.mark.parametrize("path", ["../x", "a/../b", "%2e%2e/x", ".git/config", "a%5Cb", "con"])
def test_paths_that_nobody_may_create_are_refused(path: str) -> None:
    with pytest.raises((UnsafePath, UsageError)):
        parse(f"hf://ns/name/{path}")


@pytest.mark.parametrize(
    "page",
    [
        "https://huggingface.co/docs/hub",
        "https://huggingface.co/models",
        "https://huggingface.co/ns/name/discussions/1",
        "https://huggingface.co/ns/name/resolve/main/a%3Fb",
        "https://modelscope.cn/studios/ns/name",
        "https://modelscope.cn/models/ns/name/whatever",
        "https://huggingface.co/",
    ],
)
def test_pages_that_show_no_files_are_refused(page: str) -> None:
    with pytest.raises((UsageError, UnsafePath)):
        parse(page)
