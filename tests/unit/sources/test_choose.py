"""Which files are meant."""

from __future__ import annotations

import pytest

from modelops_bundle.errors import Corrupt, NotFound
from modelops_bundle.model.hub_uri import HubUri
from modelops_bundle.model.source_uri import parse
from modelops_bundle.sources import choose

HERE = ["README.md", "a/b/c.json", "a/config.json", "config.json", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m.bin"]


def chosen(rest: str, candidates: list[str] | None = None) -> list[str]:
    uri = parse(f"hf://ns/name{rest}")
    assert isinstance(uri, HubUri)
    return choose.choose(HERE if candidates is None else candidates, uri)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("", HERE),
        ("/config.json", ["config.json"]),
        ("/a", ["a/b/c.json", "a/config.json"]),
        ("/*.json", ["config.json"]),
        ("/**/*.json", ["a/b/c.json", "a/config.json", "config.json"]),
        ("?include=*.json", ["a/b/c.json", "a/config.json", "config.json"]),
        ("?include=a/*.json", ["a/config.json"]),
        ("?include=a/", ["a/b/c.json", "a/config.json"]),
        ("?exclude=*.gguf&exclude=a/", ["README.md", "config.json", "m.bin"]),
        ("/a?exclude=config.json", ["a/b/c.json"]),
        ("?quant=q4_k_m", ["m-Q4_K_M.gguf"]),
    ],
)
def test_choices(rest: str, expected: list[str]) -> None:
    assert chosen(rest) == expected


@pytest.mark.parametrize("rest", ["/config", "/a/b/c.jso", "/nope/*", "?include=nope", "?exclude=**", "?quant=Q8_0"])
def test_nothing_is_not_found(rest: str) -> None:
    with pytest.raises(NotFound):
        chosen(rest)


def test_the_quants_that_there_are_are_told() -> None:
    with pytest.raises(NotFound) as raised:
        chosen("?quant=Q8_0")
    assert raised.value.hint == "it has Q4_K_M, Q4_K_S"
    assert raised.value.facts["quants"] == ["Q4_K_M", "Q4_K_S"]


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("model.Q4_K_M.gguf", "Q4_K_M"),
        ("model-q8_0.gguf", "Q8_0"),
        ("Q5_K_S/model-00001-of-00003.gguf", "Q5_K_S"),
        ("model-IQ2_XXS-00002-of-00009.gguf", "IQ2_XXS"),
        ("model-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("mmproj-BF16.gguf", "BF16"),
        ("model-f16.gguf", "F16"),
        ("gpt-oss-MXFP4.gguf", "MXFP4"),
        ("model-TQ1_0.gguf", "TQ1_0"),
        ("model.gguf", None),
        ("model-Q4_K_M.safetensors", None),
        ("MyQ4_K.gguf", None),
    ],
)
def test_quants_are_read_from_names(path: str, quant: str | None) -> None:
    assert choose.quant_of(path) == quant


def test_all_shards_come_or_none() -> None:
    shards = [f"m-Q4_0-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    assert chosen("?quant=Q4_0", shards) == shards
    with pytest.raises(Corrupt, match="lacks shards of Q4_0: m-Q4_0-00002-of-00003") as raised:
        chosen("?quant=Q4_0", [shards[0], shards[2]])
    assert raised.value.facts["missing"] == [shards[1]]
    assert choose.missing_shards(["a-00001-of-00001.gguf", "b.gguf"]) == []
