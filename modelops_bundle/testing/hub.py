"""A Hugging Face Hub in this process, as faithful as its clients look (facts: fetch §2.2).

with Hub() as hub:
    repository = hub.add("ns/name")
    repository.commit({"config.json": b"{}", "model.safetensors": data})
    ... hub.url, hub.site.requests, hub.storage.leaks

The real `huggingface_hub` runs against it unmodified: tests/contract/test_hub_oracle.py. It has no Xet.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import secrets
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from modelops_bundle.testing.hub_repositories import HubFile, HubRepository, listing
from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.site import Served, Storage, bearer, document, part

WINDOW = 300
"""Seconds of a rate limit."""
QUOTAS = {"api": 500, "resolvers": 3000, "pages": 100}
"""Requests that an anonymous client has per window."""

_API = re.compile(r"/api/(models|datasets|spaces)/([^/]+(?:/[^/]+)?)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?")
_RESOLVE = re.compile(r"/(?:(datasets|spaces)/)?([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)")
_CACHED = re.compile(r"/api/resolve-cache/(models|datasets|spaces)/(.+)/([0-9a-f]{40})/(.+)")
_BAD_TOKEN = "Invalid credentials in Authorization header"
_COMPRESSED = (".md", ".txt", ".json")


class Hub(Served):
    """The server, and the storage it sends its clients to.

    `users` are names by token; `moved` are new names by old ones; `page` is how many entries a page of a tree has; `left` are the requests that remain of
    each quota, `reset` the seconds until there are more.
    """

    def __init__(self) -> None:
        super().__init__(Storage())
        self.repositories: dict[tuple[str, str], HubRepository] = {}
        self.users: dict[str, str] = {}
        self.moved: dict[str, str] = {}
        self.page = 1000
        self.left = dict(QUOTAS)
        self.reset = 172

    def add(self, name: str, kind: str = "models", **facts: Any) -> HubRepository:
        """A new repository; `facts` are fields of `HubRepository`."""
        repository = HubRepository(kind, name, **facts)
        self.repositories[kind, name] = repository
        return repository

    # --- answers

    def answer(self, call: Call) -> Response:
        bucket = "resolvers" if "/resolve" in call.target else "api" if call.target.startswith("/api/") else "pages"
        if self.left[bucket] <= 0:
            answer = document({"error": "You have been rate limited"}, 429)
        else:
            self.left[bucket] -= 1
            answer = self._admitted(call)
        return answer.with_headers(
            X_Request_Id=f"Root=1-{secrets.token_hex(12)}",
            RateLimit=f'"{bucket}";r={self.left[bucket]};t={self.reset}',
            RateLimit_Policy=f'"fixed window";"{bucket}";q={QUOTAS[bucket]};w={WINDOW}',
        )

    def _admitted(self, call: Call) -> Response:
        if "authorization" in call.headers and bearer(call) not in self.users:
            return _refused(401, None, _BAD_TOKEN)
        # Revisions are one segment: their slashes are encoded, so that the path is taken apart before it is decoded.
        path = urlsplit(call.target).path
        if path == "/api/whoami-v2":
            user = self._user(call)
            return (
                document({"type": "user", "name": user})
                if user
                else _refused(401, None, "Invalid username or password.")
            )
        if found := _CACHED.fullmatch(path):
            return self._cached(call, *(unquote(text) for text in found.groups()))
        found = _RESOLVE.fullmatch(path) or _API.fullmatch(path)
        if found and found[2] in self.moved:
            start, stop = found.span(2)
            return Response(307, {"Location": path[:start] + self.moved[found[2]] + path[stop:]}, b"")
        if found := _RESOLVE.fullmatch(path):
            kind, name, revision, file = (unquote(text or "models") for text in found.groups())
            return self._resolve(call, kind, name, revision, file)
        if found := _API.fullmatch(path):
            kind, name, verb, revision, rest = (unquote(text or "") for text in found.groups())
            return self._api(call, kind, name, verb, revision or "main", rest)
        return _refused(404, None, "Sorry, we can't find the page you are looking for.")

    def _user(self, call: Call) -> str | None:
        return self.users.get(bearer(call) or "")

    def _reached(self, call: Call, kind: str, name: str) -> HubRepository | Response:
        """The repository, when whoever calls may know of it."""
        repository, user = self.repositories.get((kind, name)), self._user(call)
        if repository is None or (repository.private and user not in repository.granted):
            # Whoever says nothing of himself is not told which of the two it is.
            message = "Invalid username or password." if user is None else "Repository not found"
            return _refused(401 if user is None else 404, "RepoNotFound", message)
        if repository.disabled:
            return _refused(403, None, "Access to this resource is disabled.")
        return repository

    def _api(self, call: Call, kind: str, name: str, verb: str, revision: str, rest: str) -> Response:
        repository = self._reached(call, kind, name)
        if isinstance(repository, Response):
            return repository
        commit = repository.find(revision)
        if commit is None:
            return _refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repository.commits[commit]
        if verb == "tree":
            return self._tree(call, files, rest)
        if verb == "paths-info":
            wanted = _asked_paths(call)
            return document([files[path].entry(path) for path in wanted if path in files])
        return document(_described(repository, commit))

    def _tree(self, call: Call, files: dict[str, HubFile], below: str) -> Response:
        entries = listing(files, below.strip("/"), (call.parameter("recursive") or "").lower() in ("true", "1"))
        if entries is None:
            return _refused(404, "EntryNotFound", f"{below} does not exist")
        start = int(base64.urlsafe_b64decode(call.parameter("cursor") or "MA==").decode())
        size = min(self.page, 50) if (call.parameter("expand") or "").lower() in ("true", "1") else self.page
        answer = document(entries[start : start + size])
        if start + size >= len(entries):
            return answer
        cursor = base64.urlsafe_b64encode(str(start + size).encode()).decode()
        kept = [pair for pair in urlsplit(call.target).query.split("&") if pair and not pair.startswith("cursor=")]
        query = "&".join([*kept, f"cursor={quote(cursor)}"])
        return answer.with_headers(Link=f'<{self.url}{urlsplit(call.target).path}?{query}>; rel="next"')

    def _resolve(self, call: Call, kind: str, name: str, revision: str, path: str) -> Response:
        found = self._content(call, kind, name, revision, path)
        if isinstance(found, Response):
            return found
        _, commit, file = found
        if not file.lfs:
            where = f"/api/resolve-cache/{kind}/{name}/{commit}/{quote(path)}"
            target = f"{where}?{quote(call.path, safe='')}=&etag=%22{file.oid}%22"
            return Response(307, {"Location": target, "X-Repo-Commit": commit}, b"")
        if call.headers.get("if-none-match") == f'"{file.sha256}"':
            return Response(304, {"ETag": f'"{file.sha256}"', "X-Repo-Commit": commit})
        target = self.storage.sign(self.storage.put(file.data), path.rpartition("/")[2])
        headers = {
            "Location": target,
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{file.sha256}"',
            "X-Linked-Size": str(len(file.data)),
            "ETag": f'"{file.sha256}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "text/plain; charset=utf-8",
        }
        return Response(302, headers, f"Found. Redirecting to {target}".encode())

    def _cached(self, call: Call, kind: str, name: str, commit: str, path: str) -> Response:
        found = self._content(call, kind, name, commit, path)
        if isinstance(found, Response):
            return found
        _, commit, file = found
        tag = f'"{file.oid}"'
        headers = {"ETag": tag, "X-Repo-Commit": commit, "Content-Type": "text/plain; charset=utf-8"}
        if call.headers.get("if-none-match") == tag:
            return Response(304, headers)
        headers |= {"Accept-Ranges": "bytes", "Content-Disposition": f'inline; filename="{path.rpartition("/")[2]}"'}
        if path.endswith(_COMPRESSED) and "gzip" in call.headers.get("accept-encoding", ""):
            # Of another length than the file, and in one piece whatever is asked for.
            return Response(200, {**headers, "ETag": f"W/{tag}", "Content-Encoding": "gzip"}, gzip.compress(file.data))
        return part(call, file.data, headers)

    def _content(
        self, call: Call, kind: str, name: str, revision: str, path: str
    ) -> tuple[HubRepository, str, HubFile] | Response:
        repository = self._reached(call, kind, name)
        if isinstance(repository, Response):
            return repository
        user = self._user(call)
        if repository.gated and user not in repository.granted:
            reason = "Please log in." if user is None else "Visit the page to ask for access."
            message = f"Access to {kind[:-1]} {name} is restricted. {reason}"
            return _refused(401 if user is None else 403, "GatedRepo", message)
        commit = repository.find(revision)
        if commit is None:
            return _refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        file = repository.commits[commit].get(path)
        if file is None:
            return _refused(404, "EntryNotFound", "Entry not found").with_headers(X_Repo_Commit=commit)
        return repository, commit, file


def _refused(status: int, code: str | None, message: str) -> Response:
    answer = document({"error": message}, status, X_Error_Message=message)
    return answer.with_headers(X_Error_Code=code) if code else answer


def _described(repository: HubRepository, commit: str) -> dict[str, Any]:
    files = repository.commits[commit]
    described: dict[str, Any] = {
        "_id": "0" * 24,
        "id": repository.name,
        "author": repository.name.partition("/")[0],
        "sha": commit,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": repository.disabled,
        "tags": [f"license:{repository.licence}"] if repository.licence else [],
        "cardData": {"license": repository.licence} if repository.licence else {},
        "siblings": [{"rfilename": path} for path in sorted(files)],
        "usedStorage": sum(len(file.data) for file in files.values()),
    }
    if repository.kind == "models":
        described["modelId"] = repository.name
    return described


def _asked_paths(call: Call) -> list[str]:
    if "json" in call.headers.get("content-type", ""):
        value = json.loads(call.body)
        return list(value["paths"])
    return parse_qs(call.body.decode()).get("paths", [])
