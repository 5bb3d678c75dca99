"""From an address to its resolver: ours first, plugins for the rest, and none in our place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pytest

from modelops_bundle.errors import ConfigError, Unsupported, UsageError
from modelops_bundle.model.source_uri import StarterUri
from modelops_bundle.sources import schemes


class Plugin:
    api: ClassVar[int] = 1
    name: ClassVar[str] = "kaggle"
    schemes: ClassVar[tuple[str, ...]] = ("kaggle",)

    def parse(self, text: str) -> Any:
        return StarterUri(text.partition("://")[2])

    def resolve(self, uri: Any, ctx: Any) -> Any: ...

    def open(self, file: Any, place: Any, ctx: Any) -> Any: ...


class Entry:
    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self._value = value

    def load(self) -> Any:
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


def listing(*entries: Entry) -> Callable[[], Iterable[Entry]]:
    return lambda: entries


def never() -> Iterable[Entry]:
    raise AssertionError("plugins are not looked for")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf://ns/name", "huggingface"),
        ("https://huggingface.co/ns/name", "huggingface"),
        ("civitai://1", "civitai"),
        ("urn:air:sdxl:lora:civitai:1", "civitai"),
        ("ms://ns/name", "modelscope"),
    ],
)
def test_ours_are_found_without_looking_for_plugins(text: str, name: str) -> None:
    assert schemes.read(text, never)[1].name == name


@pytest.mark.parametrize("text", ["s3://bucket/key", "https://example.com/x", "oci://h.example/r", "starter://x"])
def test_what_is_not_there_yet_is_said(text: str) -> None:
    with pytest.raises(Unsupported, match="is not fetched from yet"):
        schemes.read(text, never)


@pytest.mark.parametrize("text", ["ns/name", "hf://", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        schemes.read(text, never)


def test_a_plugin_has_its_scheme() -> None:
    uri, resolver = schemes.read(
        "kaggle://a/b", listing(Entry("other", ImportError("not this")), Entry("kaggle", Plugin))
    )
    assert (uri, type(resolver)) == (StarterUri("a/b"), Plugin)
    with pytest.raises(UsageError, match="not a source address"):
        schemes.read("nobody://x", listing(Entry("kaggle", Plugin)))


def like(**changed: Any) -> type:
    return type("Other", (Plugin,), changed)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([Entry("kaggle", Plugin)] * 2, "2 plugins resolve kaggle://"),
        ([Entry("kaggle", ImportError("no module"))], "cannot be loaded: no module"),
        ([Entry("kaggle", lambda: 3)], "another version of the port"),
        ([Entry("kaggle", like(api=2))], "another version of the port"),
        ([Entry("kaggle", like(resolve=None))], "is no resolver"),
        ([Entry("kaggle", like(schemes=("kaggle", "hf")))], "claims hf, which are built in"),
        ([Entry("kaggle", like(schemes=("kaggle", "gcs", "ms")))], "claims gcs, ms, which are built in"),
        ([Entry("kaggle", like(schemes=("other",)))], "does not resolve kaggle://"),
    ],
)
def test_plugins_that_cannot_be_used_are_refused(entries: list[Entry], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schemes.read("kaggle://a", listing(*entries))


def test_a_plugin_for_a_scheme_of_ours_is_never_asked() -> None:
    assert schemes.read("hf://ns/name", listing(Entry("hf", like(schemes=("hf",)))))[1].name == "huggingface"


def test_importing_the_table_imports_no_resolver_and_no_http() -> None:
    code = (
        "import sys, modelops_bundle.sources.schemes as s; s.read('hf://ns/name');"
        "print([m for m in ('urllib3', 'importlib.metadata', 'modelops_bundle.sources.civitai') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"


def test_installed_plugins_are_listed() -> None:
    assert [one.name for one in schemes.installed()] == []
