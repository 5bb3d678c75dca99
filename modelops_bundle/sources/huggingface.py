"""Hugging Face: repositories at a commit, without its own library (facts: fetch §0.2 and §2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

from modelops_bundle.errors import BundleError, Corrupt, NotFound, Unauthorized, Unavailable, UsageError
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

ROOT = "https://huggingface.co"
TOKENS = "https://huggingface.co/settings/tokens"
VARIABLE = "HF_TOKEN"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"\w[\w-]*(?:\.[\w-]+)*(?:/\w[\w-]*(?:\.[\w-]+)*)?", re.ASCII)
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="next"')


class HuggingFace:
    """Resolves `hf://`: models, datasets, spaces."""

    api: ClassVar[int] = API
    name: ClassVar[str] = "huggingface"
    schemes: ClassVar[tuple[str, ...]] = ("hf",)

    def parse(self, text: str) -> SourceUri:
        """As the port says."""
        return parse(text)

    def resolve(self, uri: SourceUri, ctx: Ctx) -> Resolution:
        """The files at the commit that the revision names now."""
        at = _hub(uri)
        if at.kind in ("kernels", "buckets"):
            raise UsageError(f"{at.kind} of Hugging Face are not fetched yet", hint="models, datasets and spaces are")
        root = ctx.endpoint(self.name) or ROOT
        facts = self._described(at, root, ctx)
        commit = answers.get(facts, "sha", str, answers.host_of(root))
        # The name of today: old ones redirect.
        name = answers.maybe(facts, "id", str) or at.repository
        if not _COMMIT.fullmatch(commit) or not _NAME.fullmatch(name):
            answers.senseless(answers.host_of(root), "name or commit of the repository")
        pinned = replace(at, repository=name, revision=commit)
        entries = self._entries(pinned, root, ctx)
        files = tuple(_file(pinned, root, path, entries[path]) for path in choose.choose(entries, at))
        card = facts.get("cardData")
        licence = answers.maybe(card, "license", str)
        warnings = (f"{pinned.repository} is gated: its terms are at {_page(pinned)}",) if facts.get("gated") else ()
        return Resolution(str(at), str(pinned), files, warnings, licence)

    def open(self, file: RemoteFile, place: Place, ctx: Ctx) -> RangeSource:
        """As the port says."""
        at = _hub(parse(str(file.meta["source"])))
        return HttpRanges(file, place, ctx, lambda heard: explain(heard, at))

    # --- the API

    def _described(self, at: HubUri, root: str, ctx: Ctx) -> Mapping[str, Any]:
        url = f"{root}/api/{at.kind}/{at.repository}"
        if at.revision is not None:
            url += f"/revision/{quote(at.revision, safe='')}"
        facts = _load(ctx.ask(url), at)
        if not isinstance(facts, dict):
            answers.senseless(answers.host_of(root), "description of the repository")
        return facts

    def _entries(self, at: HubUri, root: str, ctx: Ctx) -> dict[str, Mapping[str, Any]]:
        """The files that may be meant, by path."""
        below = at.path
        if at.is_glob:
            literal = re.split(r"[*?\[]", at.path)[0]
            below = literal.rpartition("/")[0]
        elif at.path:
            found = self._one(at, root, ctx)
            if found is not None:
                return {at.path: found}
        return {
            answers.get(entry, "path", str, answers.host_of(root)): entry
            for entry in self._tree(at, below, root, ctx)
            if answers.maybe(entry, "type", str) == "file"
        }

    def _one(self, at: HubUri, root: str, ctx: Ctx) -> Mapping[str, Any] | None:
        """The entry of exactly the path asked for; None when it is a directory, or nothing."""
        url = f"{root}/api/{at.kind}/{at.repository}/paths-info/{at.revision}"
        body = urlencode({"paths": at.path, "expand": "false"}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        found = _load(ctx.ask(url, method="POST", headers=headers, body=body), at)
        entries = found if isinstance(found, list) else []
        files = [
            one for one in entries if isinstance(one, dict) and one.get("type") == "file" and one.get("path") == at.path
        ]
        return files[0] if files else None

    def _tree(self, at: HubUri, below: str, root: str, ctx: Ctx) -> Iterator[Mapping[str, Any]]:
        """All entries, page by page (RFC 8288 `Link`)."""
        url: str | None = f"{root}/api/{at.kind}/{at.repository}/tree/{at.revision}"
        url = f"{url}{'/' + quote(below) if below else ''}?recursive=true&expand=false"
        seen, count = set[str](), 0
        while url is not None:
            if url in seen or count > MAX_FILES:
                answers.senseless(answers.host_of(root), "list of files, which does not end")
            seen.add(url)
            heard = ctx.ask(url)
            page = _load(heard, at)
            if not isinstance(page, list):
                answers.senseless(answers.host_of(root), "list of files")
            count += len(page)
            yield from (entry for entry in page if isinstance(entry, dict))
            url = _next(heard, root)


def explain(heard: Heard, at: HubUri) -> BundleError:
    """What a refusal means, and what to do about it."""
    code, said = heard.headers.get("x-error-code", ""), answers.said(heard, "error")
    what, page = f"{at.kind[:-1]} {at.repository}", _page(at)
    facts: dict[str, Any] = {"host": answers.host_of(heard.url), "status": heard.status, "page": page}
    token = f"set {VARIABLE} to a token of {TOKENS}"
    if heard.status == 401 and "invalid credentials" in (said + heard.headers.get("x-error-message", "")).lower():
        return Unauthorized(f"{facts['host']} does not know the token that is sent to it", hint=token, **facts)
    if code == "GatedRepo" and heard.status == 401:
        return Unauthorized(f"{what} is gated", hint=f"accept its terms at {page}, then {token}", **facts)
    if code == "GatedRepo":
        hint = f"ask for access at {page}; a fine-grained token needs the right to read gated repositories"
        return Unauthorized(f"{what} is gated, and you were not granted access", hint=hint, **facts)
    if code == "RevisionNotFound":
        return NotFound(f"{what} has no revision {at.revision}", hint=f"see {page}/refs", **facts)
    if code == "EntryNotFound":
        return NotFound(
            f"{what} has no such file at {at.revision or 'its default branch'}", hint=f"see {page}", **facts
        )
    if heard.status == 401:
        return Unauthorized(f"there is no {what} that everybody may read", hint=_private(at, token), **facts)
    if heard.status == 404:
        return NotFound(
            f"there is no {what}, or your token may not see it", hint=_private(at, "check its name"), **facts
        )
    if heard.status == 403:
        return Unauthorized(f"{facts['host']} refuses {what}: {said}", hint=f"see {page}; or {token}", **facts)
    return Unavailable(f"{facts['host']} answered {heard.status} for {what}: {said}".rstrip(": "), **facts)


def _private(at: HubUri, otherwise: str) -> str:
    if at.kind == "models":
        return f"check its name (hf://datasets/{at.repository} is a dataset); when it is private, {otherwise}"
    return f"check its name; when it is private, {otherwise}"


def _load(heard: Heard, at: HubUri) -> Any:
    if heard.status != 200:
        raise explain(heard, at)
    return answers.load(heard)


def _next(heard: Heard, root: str) -> str | None:
    """The address of the page after this one.

    :raises Corrupt: it is at another host, where a login has no business.
    """
    found = _NEXT.search(heard.headers.get("link", ""))
    if found is None:
        return None
    # A mirror passes on what the hub says of itself.
    url: str = urljoin(heard.url, found[1].replace(ROOT, root, 1) if found[1].startswith(f"{ROOT}/") else found[1])
    if urlsplit(url)[:2] != urlsplit(root)[:2]:
        raise Corrupt(f"{answers.host_of(root)} continues its list of files at {answers.host_of(url)}")
    return url


def _hub(uri: SourceUri) -> HubUri:
    if not isinstance(uri, HubUri) or uri.scheme != "hf":
        raise UsageError(f"{uri} is no address of Hugging Face")
    return uri


def _page(at: HubUri) -> str:
    return f"{ROOT}/{_prefix(at)}{at.repository}"


def _prefix(at: HubUri) -> str:
    return "" if at.kind == "models" else f"{at.kind}/"


def _file(at: HubUri, root: str, path: str, entry: Mapping[str, Any]) -> RemoteFile:
    """LFS says the SHA-256 of the content; git, of what it keeps itself, the SHA-1 of the blob."""
    host = answers.host_of(root)
    size = answers.get(entry, "size", int, host)
    lfs = entry.get("lfs")
    oid = answers.get(lfs if isinstance(lfs, dict) else entry, "oid", str, host)
    digests = {"sha256" if isinstance(lfs, dict) else "git-sha1": oid.removeprefix("sha256:")}
    url = f"{root}/{_prefix(at)}{at.repository}/resolve/{at.revision}/{quote(path)}"
    owner, _, model = at.repository.rpartition("/")
    meta = {
        "source": str(replace(at, path=path, quant=None, include=(), exclude=())),
        "repo": at.repository,
        "owner": owner,
        "model_name": model,
        "version_name": at.revision,
        "file_name": path.rpartition("/")[2],
        "quant": choose.quant_of(path),
    }
    return RemoteFile(path, size, digests, Validator("digest", oid, True), (Place("http", url),), meta)
