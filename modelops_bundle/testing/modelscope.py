"""A ModelScope in this process (facts: fetch §2.3).

with Modelscope() as modelscope:
    modelscope.add("ns/name", {"config.json": b"{}", "model.safetensors": data})
    ... modelscope.url, modelscope.site.requests, modelscope.storage.leaks
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.site import Served, Storage, bearer, document

MOST = 3000
"""Entries of a listing of models; the rest is left out without a word."""
LARGE = 1024
"""Bytes from which on a file comes from storage here."""

_ROUTE = re.compile(r"/api/v1/(models|datasets)/([^/]+/[^/]+)(?:/(repo/files|repo/tree|repo|revisions))?")


@dataclass
class ModelscopeRepository:
    """A repository: the files of each revision."""

    kind: str
    name: str
    private: bool = False
    granted: set[str] = field(default_factory=set)
    licence: str = "apache-2.0"
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)


class Modelscope(Served):
    """The server, and the storage it sends its clients to.

    `users` are names by token; `most` is where listings end; `moody` how many listings are refused that should not be.
    """

    def __init__(self) -> None:
        super().__init__(Storage())
        self.repositories: dict[tuple[str, str], ModelscopeRepository] = {}
        self.users: dict[str, str] = {}
        self.most = MOST
        self.moody = 0

    def add(self, name: str, files: Mapping[str, bytes], kind: str = "models", **facts: Any) -> ModelscopeRepository:
        """A repository whose `master` is `files`; `facts` are fields of `ModelscopeRepository`."""
        made = ModelscopeRepository(kind, name, **facts)
        made.revisions["master"] = dict(files)
        self.repositories[kind, name] = made
        return made

    # --- answers

    def answer(self, call: Call) -> Response:
        found = _ROUTE.fullmatch(call.path)
        if found is None:
            return Response(404, {"Content-Type": "text/html"}, b"<html>404</html>")
        kind, name, verb = found.groups()
        repository, user = self.repositories.get((kind, name)), self._user(call)
        if repository is None or (repository.private and user not in repository.granted):
            return _refused(404, 10010205001, f"{kind[:-1]} {name} not exists")
        if verb is None:
            return _said(
                {"Name": name.partition("/")[2], "Path": name.partition("/")[0], "License": repository.licence}
            )
        if verb == "revisions":
            heads = [{"Revision": head} for head in repository.revisions]
            return _said({"RevisionMap": {"Branches": heads, "Tags": []}})
        files = repository.revisions.get(call.parameter("Revision") or "master")
        if files is None:
            return _refused(404, 10010205002, f"revision {call.parameter('Revision')} not exists")
        if verb == "repo":
            return self._file(call, files)
        return self._listing(call, files, paged=kind == "datasets")

    def _user(self, call: Call) -> str | None:
        cookie = re.search(r"m_session_id=([^;]+)", call.headers.get("cookie", ""))
        return self.users.get(bearer(call) or (cookie[1] if cookie else ""))

    def _listing(self, call: Call, files: Mapping[str, bytes], *, paged: bool) -> Response:
        if self.moody > 0:
            self.moody -= 1
            return _refused(403, 10010201002, "no permission")
        recursive = (call.parameter("Recursive") or "").lower() == "true"
        entries = _entries(files, (call.parameter("Root") or "").strip("/"), recursive)
        if paged:
            number, size = int(call.parameter("PageNumber") or 1), int(call.parameter("PageSize") or 100)
            return _said({"Files": entries[(number - 1) * size : number * size], "TotalCount": len(entries)})
        return _said({"Files": entries[: self.most]})

    def _file(self, call: Call, files: Mapping[str, bytes]) -> Response:
        path = call.parameter("FilePath") or ""
        data = files.get(path)
        if data is None:
            return _refused(404, 10010205003, f"file {path} not exists")
        sha = hashlib.sha256(data).hexdigest()
        headers = {"X-Linked-ETag": f'"{sha}"', "Content-Type": "application/octet-stream"}
        if len(data) < LARGE:
            # Straight from git: in one piece, whatever is asked for.
            return Response(200, headers, data)
        return Response(
            302, {**headers, "Location": self.storage.sign(self.storage.put(data), path.rpartition("/")[2])}
        )


def _entries(files: Mapping[str, bytes], root: str, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{root}/" if root else ""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(files):
        if not path.startswith(prefix):
            continue
        steps = path[len(prefix) :].split("/")
        for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
            directory = prefix + "/".join(steps[:depth])
            found.setdefault(
                directory, {"Path": directory, "Name": steps[depth - 1], "Type": "tree", "Size": 0, "Sha256": ""}
            )
        if recursive or len(steps) == 1:
            sha = hashlib.sha256(files[path]).hexdigest()
            found[path] = {
                "Path": path,
                "Name": steps[-1],
                "Type": "blob",
                "Size": len(files[path]),
                "Sha256": sha,
                "Revision": hashlib.sha1(sha.encode(), usedforsecurity=False).hexdigest(),
            }
    return list(found.values())


def _said(data: dict[str, Any]) -> Response:
    return document({"Code": 200, "Success": True, "Message": "success", "Data": data})


def _refused(status: int, code: int, message: str) -> Response:
    return document({"Code": code, "Success": False, "Message": message, "Data": None}, status)
