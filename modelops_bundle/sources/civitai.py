"""CivitAI: versions of models, their files by number, with the SHA-256 that the service states (facts: fetch §2.1)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from modelops_bundle.errors import BundleError, NotFound, Unauthorized, Unavailable, UsageError
from modelops_bundle.model import paths
from modelops_bundle.model.civitai_uri import CivitaiUri
from modelops_bundle.model.remote import API, Ctx, Heard, Place, RangeSource, RemoteFile, Resolution, Validator
from modelops_bundle.model.source_uri import SourceUri, parse
from modelops_bundle.net.redact import safe
from modelops_bundle.sources import answers
from modelops_bundle.sources.ranges import HttpRanges

ROOT = "https://civitai.com"
KEYS = "https://civitai.com/user/account"
VARIABLE = "CIVITAI_TOKEN"

_DIGESTS = {"SHA256": "sha256", "BLAKE3": "blake3", "CRC32": "crc32"}
_UNSAFE = re.compile(r'[<>:"|?*\\/]')
_GONE = {"Archived": "was archived by its creator", "TakenDown": "was taken down"}


class Civitai:
    """Resolves `civitai://`: a version of a model, and of its files the primary one or those asked for."""

    api: ClassVar[int] = API
    name: ClassVar[str] = "civitai"
    schemes: ClassVar[tuple[str, ...]] = ("civitai",)

    def parse(self, text: str) -> SourceUri:
        """As the port says."""
        return parse(text)

    def resolve(self, uri: SourceUri, ctx: Ctx) -> Resolution:
        """The files of the version, which is the newest when none was named."""
        at = _civitai(uri)
        root = ctx.endpoint(self.name) or ROOT
        version = _version(at, root, ctx)
        host = answers.host_of(root)
        number = answers.get(version, "id", int, host)
        model = answers.maybe(version, "modelId", int) or at.model
        found = replace(at, model=model, version=number, hash=None)
        chosen = _chosen(at, found, answers.maybe(version, "files", list) or [])
        ids = [answers.get(one, "id", int, host) for one in chosen]
        if len(ids) == 1:
            found = CivitaiUri(model, number, ids[0])
        files = tuple(_file(found, root, version, one) for one in chosen)
        return Resolution(str(at), str(found), files, tuple(_warnings(found, version, chosen)))

    def open(self, file: RemoteFile, place: Place, ctx: Ctx) -> RangeSource:
        """As the port says."""
        at = _civitai(parse(str(file.meta["source"])))
        return HttpRanges(file, place, ctx, lambda heard: explain(heard, at))


def explain(heard: Heard, at: CivitaiUri) -> BundleError:
    """What a refusal means, and what to do about it."""
    error, said = answers.said(heard, "error"), answers.said(heard, "message") or answers.said(heard, "error")
    page, host = _page(at), answers.host_of(heard.url)
    facts: dict[str, Any] = {"host": host, "status": heard.status, "page": page}
    key = f"set {VARIABLE} to an API key of {KEYS}"
    if heard.status == 403 and error == "Early Access":
        until = answers.said(heard, "deadline")
        message = f"{at} is in early access" + (f" until {until}" if until else "")
        return Unauthorized(message, hint=f"buy access at {page}, then {key}; or wait", deadline=until, **facts)
    if heard.status == 401 and "disabled downloads" in said:
        return Unauthorized(f"the creator of {at} lets nobody download it", hint=f"see {page}", **facts)
    if heard.status == 401:
        return Unauthorized(f"{at} wants a login: {said}", hint=f"{key}; the page is {page}", **facts)
    if heard.status == 403:
        return Unauthorized(f"{host} refuses {at}: {said}", hint=f"see {page}; or {key}", **facts)
    if heard.status == 410:
        return NotFound(f"{at} {_GONE['Archived']}", hint=f"see {page}", **facts)
    if heard.status == 404:
        return NotFound(f"{host} has no {at}: {said}", hint=f"see {page}", **facts)
    return Unavailable(f"{host} answered {heard.status} for {at}: {said}".rstrip(": "), **facts)


# --- looking up


def _version(at: CivitaiUri, root: str, ctx: Ctx) -> Mapping[str, Any]:
    """The version that is meant, as the API describes it.

    :raises NotFound: there is none.
    """
    if at.hash is not None:
        return _available(at, _ask(f"{root}/api/v1/model-versions/by-hash/{at.hash}", at, ctx))
    if at.version is not None:
        version = _ask(f"{root}/api/v1/model-versions/{at.version}", at, ctx)
        owner = answers.maybe(version, "modelId", int)
        if at.model is not None and owner != at.model:
            raise NotFound(f"version {at.version} is of model {owner}, and not of {at.model}", hint=f"see {_page(at)}")
        return _available(at, version)
    model = _ask(f"{root}/api/v1/models/{at.model}", at, ctx)
    _available(at, {"model": model})
    versions = [
        one for one in answers.get(model, "modelVersions", list, answers.host_of(root)) if isinstance(one, dict)
    ]
    usable = [one for one in versions if one.get("files")]
    if not usable:
        raise NotFound(f"{at} has no version with files", hint=f"see {_page(at)}")
    # Newest first; the number of a file means the version that has it.
    owners = [one for one in usable if at.file is not None and at.file in _numbers(one)]
    found = (owners or usable)[0]
    return {**found, "model": {"name": model.get("name"), "type": model.get("type")}, "modelId": at.model}


def _ask(url: str, at: CivitaiUri, ctx: Ctx) -> Mapping[str, Any]:
    heard = ctx.ask(url)
    if heard.status != 200:
        raise explain(heard, at)
    found = answers.load(heard)
    if not isinstance(found, dict):
        answers.senseless(answers.host_of(url), "description of the model")
    return found


def _available(at: CivitaiUri, version: Mapping[str, Any]) -> Mapping[str, Any]:
    mode = answers.maybe(version.get("model"), "mode", str)
    if mode is not None:
        raise NotFound(f"{at} {_GONE.get(mode, 'is not available')}", hint=f"see {_page(at)}", mode=safe(mode, 40))
    return version


def _chosen(asked: CivitaiUri, found: CivitaiUri, entries: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The files that are meant: those asked for by number, hash, properties or name, else the primary one."""
    files: list[Mapping[str, Any]] = [one for one in entries if isinstance(one, dict)]
    if asked.file is not None:
        kept = [one for one in files if one.get("id") == asked.file]
    elif asked.hash is not None:
        kept = [one for one in files if asked.hash in _hashes(one).values()]
    elif asked.filters or asked.name:
        kept = [one for one in files if _fits(one, asked)]
    else:
        kept = [one for one in files if one.get("primary") is True][:1]
        kept = kept or [one for one in files if one.get("type") == "Model"][:1] or files[:1]
    if not kept:
        names = ", ".join(safe(str(one.get("name")), 80) for one in files[:20]) or "no files"
        raise NotFound(f"{found} has no file that is asked for", hint=f"it has {names}")
    return kept


def _fits(file: Mapping[str, Any], asked: CivitaiUri) -> bool:
    metadata = file.get("metadata")
    known = {**(metadata if isinstance(metadata, dict) else {}), "type": file.get("type")}
    named = asked.name is None or fnmatchcase(str(file.get("name")).lower(), asked.name.lower())
    return named and all(str(known.get(name)).lower() == value.lower() for name, value in asked.filters)


def _numbers(version: Mapping[str, Any]) -> list[int | None]:
    return [answers.maybe(one, "id", int) for one in answers.maybe(version, "files", list) or []]


def _hashes(file: Mapping[str, Any]) -> dict[str, str]:
    found = file.get("hashes")
    known = found if isinstance(found, dict) else {}
    return {str(name): value.upper() for name, value in known.items() if isinstance(value, str)}


def _warnings(at: CivitaiUri, version: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> list[str]:
    warnings = []
    if version.get("availability") == "EarlyAccess":
        until = answers.maybe(version, "earlyAccessEndsAt", str) or "?"
        warnings.append(f"{at} is in early access until {safe(until, 40)}: see {_page(at)}")
    for one in files:
        name = safe(str(one.get("name")), 120)
        for kind in ("pickleScanResult", "virusScanResult"):
            result = one.get(kind)
            if result in ("Danger", "Error"):
                warnings.append(f"CivitAI's scan of {name} says {result} ({kind})")
        if "SHA256" not in _hashes(one):
            warnings.append(f"CivitAI states no SHA256 of {name}: its content cannot be verified")
    return warnings


# --- values


def _file(at: CivitaiUri, root: str, version: Mapping[str, Any], file: Mapping[str, Any]) -> RemoteFile:
    """By number: the service's own `downloadUrl` may not be found (facts: fetch §2.1, trap b), and comes second."""
    host = answers.host_of(root)
    number = answers.get(file, "id", int, host)
    name = answers.get(file, "name", str, host)
    digests = {_DIGESTS[kind]: value.lower() for kind, value in _hashes(file).items() if kind in _DIGESTS}
    places = [Place("http", f"{root}/api/download/models/{at.version}?fileId={number}")]
    own = answers.maybe(file, "downloadUrl", str) or ""
    if own.startswith(f"{root}/api/download/models/{at.version}?") and "token=" not in own.lower():
        places.append(Place("http", own))
    sha = digests.get("sha256")
    model = version.get("model")
    size = file.get("sizeKB")
    meta = {
        "source": str(CivitaiUri(at.model, at.version, number)),
        "model_name": answers.maybe(model, "name", str),
        "model_type": answers.maybe(model, "type", str),
        "version_name": answers.maybe(version, "name", str),
        "version_id": at.version,
        "base_model": answers.maybe(version, "baseModel", str),
        "file_name": name,
        "file_type": answers.maybe(file, "type", str),
        # Of two decimals of a KiB: for the plan and free space, never for a comparison.
        "approximate_size": int(size * 1024) if isinstance(size, (int, float)) and 0 <= size < 1e15 else None,
    }
    validator = Validator("digest", sha, True) if sha else None
    return RemoteFile(file_name(name, number), None, digests, validator, tuple(places), meta)


def file_name(name: str, number: int) -> str:
    """What a file may be called on anybody's disk: `name`, with `_` for what some system forbids."""
    found = unicodedata.normalize("NFC", _UNSAFE.sub("_", name)).strip(" ")
    found = "".join(c for c in found if c.isprintable()).rstrip(". ")
    return (
        found
        if paths.problem(found) is None
        else f"{number}.safetensors"
        if name.endswith(".safetensors")
        else str(number)
    )


def _civitai(uri: SourceUri) -> CivitaiUri:
    if not isinstance(uri, CivitaiUri):
        raise UsageError(f"{uri} is no address of CivitAI")
    return uri


def _page(at: CivitaiUri) -> str:
    if at.model is None:
        return ROOT if at.version is None else f"{ROOT}/model-versions/{at.version}"
    return f"{ROOT}/models/{at.model}" + ("" if at.version is None else f"?modelVersionId={at.version}")
