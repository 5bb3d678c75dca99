"""ModelScope: repositories at a revision, each file with the SHA-256 that the service states (facts: fetch §2.3).

Its API names no commit: what pins a resolution are the digests of its files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from modelops_bundle.errors import BundleError, NotFound, Unauthorized, Unavailable, Unsupported, UsageError
from modelops_bundle.model.hub_uri import HubUri
from modelops_bundle.model.remote import (
    API,
    MAX_FILES,
    Ctx,
    Heard,
    Place,
    RangeSource,
    RemoteFile,
    Resolution,
    Validator,
)
from modelops_bundle.model.source_uri import SourceUri, parse
from modelops_bundle.sources import answers, choose
from modelops_bundle.sources.ranges import HttpRanges

ROOT = "https://modelscope.cn"
TOKENS = "https://modelscope.cn/my/myaccesstoken"
VARIABLE = "MODELSCOPE_API_TOKEN"
COOKIE = "m_session_id"
"""What carries the token besides `Authorization`."""
DEFAULT = "master"
LISTED = 3000
"""Entries at which a listing of a model ends without a word."""

_PAGE_SIZE = 200
_ASKED = 3
"""Times that a listing is asked for: one page in many is refused to those who may see it."""


class Modelscope:
    """Resolves `modelscope://`: models and datasets.

    :param listed: entries at which listings end.
    """

    api: ClassVar[int] = API
    name: ClassVar[str] = "modelscope"
    schemes: ClassVar[tuple[str, ...]] = ("modelscope",)

    def __init__(self, listed: int = LISTED) -> None:
        self._listed = listed

    def parse(self, text: str) -> SourceUri:
        """As the port says."""
        return parse(text)

    def resolve(self, uri: SourceUri, ctx: Ctx) -> Resolution:
        """The files of the revision, `master` when none was named."""
        at = _scope(uri)
        root = ctx.endpoint(self.name) or ROOT
        pinned = replace(at, revision=at.revision or DEFAULT)
        listing = self._dataset(pinned, root, ctx) if at.kind == "datasets" else self._model(pinned, "", root, ctx)
        entries = {answers.get(one, "Path", str, answers.host_of(root)): one for one in listing}
        files = tuple(_file(pinned, root, path, entries[path]) for path in choose.choose(entries, at))
        unsure = [file.path for file in files if "sha256" not in file.digests]
        warnings = (f"ModelScope states no SHA-256 of {len(unsure)} files, as of {unsure[0]}",) if unsure else ()
        described = _data(ctx.ask(_api(at, root)), at)
        return Resolution(str(at), str(pinned), files, warnings, answers.maybe(described, "License", str))

    def open(self, file: RemoteFile, place: Place, ctx: Ctx) -> RangeSource:
        """As the port says."""
        at = _scope(parse(str(file.meta["source"])))
        return HttpRanges(file, place, ctx, lambda heard: explain(heard, at))

    # --- listings

    def _model(self, at: HubUri, below: str, root: str, ctx: Ctx) -> Iterator[Mapping[str, Any]]:
        """The files below a directory; where the listing may have been cut, directory by directory."""
        found = self._listing(at, below, True, root, ctx)
        if len(found) < self._listed:
            yield from (one for one in found if one.get("Type") == "blob")
            return
        here = self._listing(at, below, False, root, ctx)
        if len(here) >= self._listed:
            raise Unsupported(
                f"a directory of {at.repository} has more than the {self._listed} files that ModelScope lists"
            )
        for one in here:
            if one.get("Type") == "tree":
                yield from self._model(at, answers.get(one, "Path", str, answers.host_of(root)), root, ctx)
            elif one.get("Type") == "blob":
                yield one

    def _listing(self, at: HubUri, below: str, recursive: bool, root: str, ctx: Ctx) -> list[Mapping[str, Any]]:
        query = {"Revision": at.revision or DEFAULT, "Recursive": str(recursive), **({"Root": below} if below else {})}
        return _files(_patiently(f"{_api(at, root)}/repo/files?{urlencode(query)}", at, ctx), root)

    def _dataset(self, at: HubUri, root: str, ctx: Ctx) -> Iterator[Mapping[str, Any]]:
        query = {"Revision": at.revision or DEFAULT, "Recursive": "True", "PageSize": str(_PAGE_SIZE)}
        for number in range(1, MAX_FILES // _PAGE_SIZE):
            url = f"{_api(at, root)}/repo/tree?{urlencode({**query, 'PageNumber': str(number)})}"
            page = _files(_patiently(url, at, ctx), root)
            yield from (one for one in page if one.get("Type") == "blob")
            if len(page) < _PAGE_SIZE:
                return
        answers.senseless(answers.host_of(root), "list of files, which does not end")


def explain(heard: Heard, at: HubUri) -> BundleError:
    """What a refusal means, and what to do about it."""
    said, host = answers.said(heard, "Message", "message"), answers.host_of(heard.url)
    page, what = f"{ROOT}/{at.kind}/{at.repository}", f"{at.kind[:-1]} {at.repository}"
    facts: dict[str, Any] = {"host": host, "status": heard.status, "page": page}
    token = f"set {VARIABLE} to a token of {TOKENS}"
    if heard.status in (401, 403):
        return Unauthorized(f"{host} refuses {what}: {said}", hint=f"see {page}; when it is private, {token}", **facts)
    if heard.status in (200, 404):
        message = f"{host} has no {what} at {at.revision or DEFAULT}: {said}"
        return NotFound(message, hint=f"see {page}; when it is private, {token}", **facts)
    return Unavailable(f"{host} answered {heard.status} for {what}: {said}".rstrip(": "), **facts)


def _patiently(url: str, at: HubUri, ctx: Ctx) -> Mapping[str, Any]:
    heard = ctx.ask(url)
    for _ in range(_ASKED - 1):
        if heard.status != 403:
            break
        heard = ctx.ask(url)
    return _data(heard, at)


def _data(heard: Heard, at: HubUri) -> Mapping[str, Any]:
    """The `Data` of an answer, whose `Success` counts for more than its status."""
    if heard.status != 200:
        raise explain(heard, at)
    value = answers.load(heard)
    data = answers.maybe(value, "Data", dict)
    if answers.maybe(value, "Success", bool) is False or data is None:
        raise explain(heard, at)
    return data


def _files(data: Mapping[str, Any], root: str) -> list[Mapping[str, Any]]:
    return [one for one in answers.get(data, "Files", list, answers.host_of(root)) if isinstance(one, dict)]


def _api(at: HubUri, root: str) -> str:
    return f"{root}/api/v1/{at.kind}/{at.repository}"


def _scope(uri: SourceUri) -> HubUri:
    if not isinstance(uri, HubUri) or uri.scheme != "modelscope":
        raise UsageError(f"{uri} is no address of ModelScope")
    return uri


def _file(at: HubUri, root: str, path: str, entry: Mapping[str, Any]) -> RemoteFile:
    sha = (answers.maybe(entry, "Sha256", str) or "").lower()
    digests = {"sha256": sha} if sha else {}
    query = urlencode({"Revision": at.revision or DEFAULT, "FilePath": path}, quote_via=quote)
    owner, _, model = at.repository.partition("/")
    meta = {
        "source": str(replace(at, path=path, quant=None, include=(), exclude=())),
        "repo": at.repository,
        "owner": owner,
        "model_name": model,
        "version_name": at.revision,
        "file_name": path.rpartition("/")[2],
        "quant": choose.quant_of(path),
    }
    size = answers.get(entry, "Size", int, answers.host_of(root))
    validator = Validator("digest", sha, True) if sha else None
    return RemoteFile(path, size, digests, validator, (Place("http", f"{_api(at, root)}/repo?{query}"),), meta)
