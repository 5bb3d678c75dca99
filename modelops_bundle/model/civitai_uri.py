"""Addresses at CivitAI: models, versions, files, hashes, AIR names, pages (facts: fetch §1.1 and §2.1).

civitai://MODEL[@VERSION][+FILE][?type=&format=&size=&fp=&quantType=&file=GLOB]
civitai://version/VERSION[+FILE][?…]        civitai://hash/HEX
[urn:][air:]ECOSYSTEM:TYPE:civitai:MODEL[@VERSION][+FILE][.FORMAT]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from modelops_bundle.model.source_text import (
    agree,
    parameters,
    query_of,
    refuse,
    refuse_secret,
    single,
    split,
)

FILTERS = ("type", "format", "size", "fp", "quantType")
"""What the download endpoint chooses a file by, in the order of canonical addresses."""
_DOMAINS = ("civitai.com", "civitai.red", "civitai.green")

_AIR = re.compile(
    r"(?:urn:)?(?:air:)?[a-z0-9_-]+:[a-z0-9_-]+:(?P<source>[a-z0-9_-]+):(?P<id>[^@+.?:]+)"
    r"(?:@(?P<version>[0-9]+))?(?:\+(?P<file>[0-9]+))?(?:\.(?P<format>[a-z]+))?",
    re.IGNORECASE,
)
_PLACE = re.compile(r"(?:(?P<model>[0-9]+)(?:@(?P<version>[0-9]+))?|version/(?P<only>[0-9]+))(?:\+(?P<file>[0-9]+))?")
_MODEL = re.compile(r"model/([0-9]+)")
_HASH = re.compile(r"hash/([0-9A-Fa-f]+)")
_HASH_LENGTHS = (8, 10, 12, 64)
"""Hex digits of AutoV1 and CRC32, AutoV2, AutoV3, SHA256 and BLAKE3."""
_PAGE = re.compile(r"/(?:(?:[a-z]{2}/)?models|api/v1/models)/([0-9]+)(?:/[^/]*)?")
_DOWNLOAD = re.compile(r"/api/download/models/([0-9]+)")
_VERSION = re.compile(r"/api/v1/model-versions/(?:mini/)?([0-9]+)")
_BY_HASH = re.compile(r"/api/v1/model-versions/by-hash/([0-9A-Fa-f]+)")
_FORMATS = {
    "safetensor": "SafeTensor",
    "safetensors": "SafeTensor",
    "ckpt": "PickleTensor",
    "pickletensor": "PickleTensor",
    "gguf": "GGUF",
    "diffusers": "Diffusers",
    "coreml": "Core ML",
    "onnx": "ONNX",
}


@dataclass(frozen=True, slots=True)
class CivitaiUri:
    """A model, one of its versions, one file of that, or whatever has a hash: one of `model`, `version`, `hash` is given.

    :param hash: in upper case, as the service writes it.
    :param filters: names and values of `FILTERS`, in that order.
    :param name: a glob that the file's name must match.
    """

    model: int | None = None
    version: int | None = None
    file: int | None = None
    hash: str | None = None
    filters: tuple[tuple[str, str], ...] = ()
    name: str | None = None

    @property
    def scheme(self) -> str:
        """`civitai`."""
        return "civitai"

    def __str__(self) -> str:
        if self.hash is not None:
            return f"civitai://hash/{self.hash}"
        if self.model is None:
            text = f"civitai://version/{self.version}"
        else:
            text = f"civitai://{self.model}" + ("" if self.version is None else f"@{self.version}")
        if self.file is not None:
            text += f"+{self.file}"
        return text + query_of([*self.filters, *([("file", self.name)] if self.name else [])])


def is_host(host: str) -> bool:
    """Whether `host` is one of the names of CivitAI."""
    return any(host == domain or host.endswith(f".{domain}") for domain in _DOMAINS)


def is_air(text: str) -> bool:
    """Whether `text` is an AI resource name, of whatever source."""
    found = _AIR.fullmatch(text)
    return found is not None and (found["source"].lower() == "civitai" or text.lower().startswith(("urn:air:", "air:")))


def parse(rest: str, whole: str) -> CivitaiUri:
    """What follows `civitai://`.

    :raises UsageError: it is none of the forms.
    """
    place, query, fragment = split(rest)
    place = place.removesuffix("/")
    if fragment:
        refuse(whole, "a civitai:// address has no part after '#'")
    if found := _HASH.fullmatch(place):
        parameters(query, (), whole)
        return _of_hash(found[1], whole)
    given = parameters(query, (*FILTERS, "file", "version"), whole)
    filters = _filters(given, whole)
    part, asked = single(given, "file", whole), single(given, "version", whole)
    if found := _MODEL.fullmatch(place):
        # The spelling of modfetch, where `file` is a part of the name.
        glob = part if part is None or any(c in part for c in "*?[") else f"*{part}*"
        return CivitaiUri(_number(found[1], whole), _maybe(asked, whole), filters=filters, name=glob)
    found = _PLACE.fullmatch(place)
    if found is None:
        refuse(whole, "write civitai://MODEL[@VERSION][+FILE], civitai://version/VERSION or civitai://hash/HEX")
    version = agree(found["version"] or found["only"], asked, "version", whole)
    return CivitaiUri(
        _maybe(found["model"], whole), _maybe(version, whole), _maybe(found["file"], whole), filters=filters, name=part
    )


def parse_air(text: str) -> CivitaiUri:
    """An AI resource name (https://developer.civitai.com, "AIR").

    :raises UsageError: of another source than CivitAI, or of an unknown format.
    """
    found = _AIR.fullmatch(text)
    if found is None or found["source"].lower() != "civitai" or not found["id"].isdigit():
        refuse(text, "only names of CivitAI are known: urn:air:ECOSYSTEM:TYPE:civitai:MODEL[@VERSION]")
    word = (found["format"] or "").lower()
    if word and word not in _FORMATS:
        refuse(text, f"its format is none of {', '.join(_FORMATS)}")
    filters = (("format", _FORMATS[word]),) if word else ()
    return CivitaiUri(
        _number(found["id"], text), _maybe(found["version"], text), _maybe(found["file"], text), filters=filters
    )


def parse_page(path: str, query: str, whole: str) -> CivitaiUri:
    """The model that a page of the site or an address of its API is about.

    :raises UsageError: another kind of page.
    """
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, max_num_fields=100):
        refuse_secret(name)
        given.setdefault(name, []).append(value)
    filters = _filters(given, whole)
    path = path.rstrip("/")
    if found := _BY_HASH.fullmatch(path):
        return _of_hash(found[1], whole)
    if found := _DOWNLOAD.fullmatch(path):
        file = _maybe(single(given, "fileId", whole), whole)
        return CivitaiUri(version=_number(found[1], whole), file=file, filters=filters)
    if found := _VERSION.fullmatch(path):
        return CivitaiUri(version=_number(found[1], whole))
    found = _PAGE.fullmatch(path)
    if found is None:
        refuse(whole, "that page shows no model; write civitai://MODEL[@VERSION]")
    return CivitaiUri(_number(found[1], whole), _maybe(single(given, "modelVersionId", whole), whole))


def _filters(given: Mapping[str, list[str]], whole: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name in FILTERS if (value := single(given, name, whole)))


def _of_hash(text: str, whole: str) -> CivitaiUri:
    if len(text) not in _HASH_LENGTHS:
        refuse(whole, "a hash there has 8 (AutoV1, CRC32), 10 (AutoV2), 12 (AutoV3) or 64 hex digits (SHA256, BLAKE3)")
    return CivitaiUri(hash=text.upper())


def _number(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) == 0:
        refuse(whole, f"{text[:40]!r} is no number that CivitAI gives")
    return int(text)


def _maybe(text: str | None, whole: str) -> int | None:
    return None if text is None else _number(text, whole)
