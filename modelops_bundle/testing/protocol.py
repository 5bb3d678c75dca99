"""What an OCI registry answers, without sockets: distribution-spec 1.1 over dictionaries."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from modelops_bundle.model import media
from modelops_bundle.model.digest import Digest

MAX_MANIFEST = media.MAX_MANIFEST
MAX_BLOB = 4 * 1024 * 1024 * 1024

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ROUTE = re.compile(r"/v2/(?P<name>.+?)/(?P<what>manifests|blobs|tags|referrers)/(?P<rest>.*)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d+)-(\d+)(?:/.*)?")


@dataclass(frozen=True)
class Call:
    """One request; names of headers in lower case, `target` as it stood in the request line."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(urlsplit(self.target).path)

    def parameter(self, name: str) -> str | None:
        """A query parameter."""
        values = parse_qs(urlsplit(self.target).query, keep_blank_values=True).get(name)
        return values[0] if values else None

    def without(self, *names: str) -> Call:
        """The same call lacking some headers."""
        return replace(self, headers={name: value for name, value in self.headers.items() if name not in names})


@dataclass(frozen=True)
class Response:
    """One answer, and how it is mistreated on its way.

    :param declared: the Content-Length to announce instead of the true one.
    :param cut: body bytes after which the connection closes.
    :param reset: close by RST instead of FIN where `cut` says, or before the status line when it says nothing.
    :param endless: go on with zero bytes, chunked, until the client leaves.
    :param gate: called before the body is sent.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    declared: int | None = None
    cut: int | None = None
    reset: bool = False
    endless: bool = False
    gate: Callable[[], None] | None = None

    def with_headers(self, **headers: str) -> Response:
        """The same answer with more headers; `_` stands for `-`."""
        return replace(
            self, headers={**self.headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
        )


def refusal(status: int, code: str, message: str, detail: object = None) -> Response:
    """An error as the specification words it."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()
    return Response(status, {"Content-Type": "application/json"}, body)


@dataclass
class Repository:
    """Blobs, manifests with their media types, and tags."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Habits:
    """What registries differ in.

    :param conditions: honour `If-Match` and `If-None-Match` on manifest PUTs.
    :param mounts: answer 201 to a mount that can be done; else start a session.
    :param single_post: take a blob in the POST that carries `digest`.
    :param patch: most bytes of one PATCH, None for any number, 0 for no PATCH at all.
    :param patched: the status of a PATCH that was taken: 202, or as others say it, 201 and 204.
    :param least: `OCI-Chunk-Min-Length`, None to say none.
    :param appends: take no notice of `Content-Range`, as distribution 2.8 does.
    :param keeps: of a body that was cut, what arrived stays (distribution 3, zot); else the session is lost (2.8).
    :param state: sessions carry a `_state`, as distribution's do.
    :param deletes: manifests and blobs can be deleted. :param tag_deletes: so can tags.
    :param referrers: the referrers API is there. :param says_subject: and a PUT is told so (`OCI-Subject`).
    :param filters: it filters by artifact type. :param catalog: repositories can be listed.
    :param strict_accept: 404 when `Accept` lacks the manifest's type, as distribution 2.8 does.
    :param page: most entries of one page of a list, None for no limit.
    """

    conditions: bool = True
    mounts: bool = True
    single_post: bool = True
    patch: int | None = None
    patched: int = 202
    least: int | None = None
    appends: bool = False
    keeps: bool = True
    state: bool = True
    deletes: bool = True
    tag_deletes: bool = True
    referrers: bool = True
    says_subject: bool = True
    filters: bool = True
    catalog: bool = True
    strict_accept: bool = True
    page: int | None = None


class Protocol:
    """Answers calls. Safe to share between threads; every answer is atomic."""

    def __init__(self) -> None:
        self.habits = Habits()
        self.repositories: dict[str, Repository] = {}
        self._uploads: dict[str, tuple[str, bytearray]] = {}
        self._lock = threading.RLock()
        self._routes: Mapping[str, Callable[[Call, str, str], Response]] = {
            "manifests": self._manifests,
            "blobs": self._blobs,
            "tags": self._tags,
            "referrers": self._referrers,
        }

    def answer(self, call: Call) -> Response:
        """The answer to `call`."""
        if call.path.rstrip("/") == "/v2":
            return Response(200, {"Content-Type": "application/json"}, b"{}")
        if call.path == "/v2/_catalog":
            with self._lock:
                return self._catalog(call)
        route = _ROUTE.fullmatch(call.path)
        if route is None:
            return refusal(404, "NAME_UNKNOWN", "no such route")
        if not _NAME.fullmatch(route["name"]) or len(route["name"]) > 255:
            return refusal(400, "NAME_INVALID", "invalid repository name")
        with self._lock:
            return self._routes[route["what"]](call, route["name"], route["rest"])

    def cut(self, call: Call) -> None:
        """The client left in the middle of the body of `call`."""
        session = call.path.rpartition("/")[2]
        with self._lock:
            _, received = self._uploads.get(session, ("", bytearray()))
            if self.habits.keeps:
                received += call.body
            else:
                self._uploads.pop(session, None)

    def restart(self) -> None:
        """Lose every upload under way."""
        with self._lock:
            self._uploads.clear()

    @property
    def uploads(self) -> int:
        """How many uploads are under way."""
        return len(self._uploads)

    def repository(self, name: str) -> Repository:
        """The repository `name`, made when it is not there."""
        with self._lock:
            return self.repositories.setdefault(name, Repository())

    # --- manifests

    def _manifests(self, call: Call, name: str, rest: str) -> Response:
        if call.method == "PUT":
            return self._put_manifest(call, name, rest)
        repository = self.repositories.get(name)
        if repository is None:
            return refusal(404, "NAME_UNKNOWN", "repository name not known to registry")
        digest = rest if _DIGEST.fullmatch(rest) else repository.tags.get(rest)
        if digest is None or digest not in repository.manifests:
            return refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if call.method == "DELETE":
            return self._delete_manifest(repository, rest, digest)
        media_type, data = repository.manifests[digest]
        if self.habits.strict_accept and not _accepts(call.headers.get("accept", ""), media_type):
            return refusal(404, "MANIFEST_UNKNOWN", "manifest found, but the accept header does not support its type")
        if f'"{digest}"' in call.headers.get("if-none-match", ""):
            return Response(304, {"ETag": f'"{digest}"'})
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        return Response(200, headers, data)

    def _put_manifest(self, call: Call, name: str, rest: str) -> Response:
        if len(call.body) > MAX_MANIFEST:
            return refusal(413, "SIZE_INVALID", "manifest too large")
        by_digest = _DIGEST.fullmatch(rest) is not None
        if not by_digest and not _TAG.fullmatch(rest):
            return refusal(400, "MANIFEST_INVALID", "invalid reference")
        digest = str(Digest.of(call.body))
        if by_digest and rest != digest:
            return refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        media_type = call.headers.get("content-type", "").partition(";")[0].strip()
        manifest = _parse_manifest(call.body, media_type)
        if manifest is None:
            return refusal(400, "MANIFEST_INVALID", "manifest invalid")
        repository = self.repositories.get(name, Repository())
        missing = [one for one in _needs(manifest) if one not in repository.blobs and one not in repository.manifests]
        if missing:
            return _missing_blobs(missing)
        if not by_digest and not self._condition_holds(call, repository.tags.get(rest)):
            return refusal(412, "PRECONDITION_FAILED", "the tag is not what it was")
        repository.manifests[digest] = (media_type, call.body)
        if not by_digest:
            repository.tags[rest] = digest
        self.repositories[name] = repository
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        subject = manifest.get("subject")
        if self.habits.referrers and self.habits.says_subject and isinstance(subject, dict):
            headers["OCI-Subject"] = str(subject.get("digest"))
        return Response(201, headers)

    def _condition_holds(self, call: Call, standing: str | None) -> bool:
        if not self.habits.conditions:
            return True
        wanted, unwanted = call.headers.get("if-match"), call.headers.get("if-none-match")
        if wanted is not None and (standing is None or (wanted != "*" and f'"{standing}"' not in wanted)):
            return False
        return not (unwanted is not None and standing is not None and (unwanted == "*" or f'"{standing}"' in unwanted))

    def _delete_manifest(self, repository: Repository, rest: str, digest: str) -> Response:
        if not self.habits.deletes or (rest != digest and not self.habits.tag_deletes):
            return refusal(405, "UNSUPPORTED", "the operation is unsupported")
        if rest != digest:
            del repository.tags[rest]
            return Response(202)
        del repository.manifests[digest]
        for tag in [tag for tag, standing in repository.tags.items() if standing == digest]:
            del repository.tags[tag]
        return Response(202)

    # --- blobs

    def _blobs(self, call: Call, name: str, rest: str) -> Response:
        if rest == "uploads" or rest.startswith("uploads/"):
            return self._upload(call, name, rest.removeprefix("uploads").strip("/"))
        if not _DIGEST.fullmatch(rest):
            return refusal(400, "DIGEST_INVALID", "invalid digest")
        repository = self.repositories.get(name, Repository())
        if rest not in repository.blobs:
            return refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if call.method == "DELETE":
            if not self.habits.deletes:
                return refusal(405, "UNSUPPORTED", "the operation is unsupported")
            del repository.blobs[rest]
            return Response(202)
        return ranged(call, repository.blobs[rest]).with_headers(Docker_Content_Digest=rest, ETag=f'"{rest}"')

    def _upload(self, call: Call, name: str, session: str) -> Response:
        if not session:
            return self._start(call, name) if call.method == "POST" else refusal(405, "UNSUPPORTED", "POST only")
        owner, received = self._uploads.get(session, ("", bytearray()))
        if owner != name:
            return refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if call.method == "PATCH":
            return self._patch(call, name, session, received)
        if call.method == "PUT":
            return self._finish(call, name, session, received)
        if call.method == "DELETE":
            del self._uploads[session]
            return Response(204)
        return self._session(name, session, 204)

    def _start(self, call: Call, name: str) -> Response:
        mount, source = call.parameter("mount"), call.parameter("from")
        if mount is not None and source is not None and self.habits.mounts:
            data = self.repositories.get(source, Repository()).blobs.get(mount)
            if data is not None:
                self.repository(name).blobs[mount] = data
                return _stored(name, mount)
        digest = call.parameter("digest")
        if digest is not None and self.habits.single_post:
            return self._store(name, digest, call.body)
        session = secrets.token_hex(8)
        self._uploads[session] = (name, bytearray())
        return self._session(name, session, 202)

    def _patch(self, call: Call, name: str, session: str, received: bytearray) -> Response:
        if self.habits.patch == 0:
            return refusal(405, "UNSUPPORTED", "the operation is unsupported")
        if self.habits.patch is not None and len(call.body) > self.habits.patch:
            return replace(self._session(name, session, 416), body=b"")
        said = call.headers.get("content-range")
        if said is not None and not self.habits.appends:
            place = _CONTENT_RANGE.fullmatch(said)
            if place is None or int(place[1]) != len(received):
                return replace(self._session(name, session, 416), body=b"")
        if len(received) + len(call.body) > MAX_BLOB:
            return refusal(413, "SIZE_INVALID", "blob too large")
        received += call.body
        return self._session(name, session, self.habits.patched)

    def _finish(self, call: Call, name: str, session: str, received: bytearray) -> Response:
        digest = call.parameter("digest")
        if digest is None:
            return refusal(400, "DIGEST_INVALID", "digest missing")
        answer = self._store(name, digest, bytes(received) + call.body)
        self._uploads.pop(session, None)
        return answer

    def _store(self, name: str, digest: str, data: bytes) -> Response:
        if not _DIGEST.fullmatch(digest) or str(Digest.of(data)) != digest:
            return refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.repository(name).blobs[digest] = data
        return _stored(name, digest)

    def _session(self, name: str, session: str, status: int) -> Response:
        length = len(self._uploads[session][1])
        state = f"?_state={secrets.token_urlsafe(8)}" if self.habits.state else ""
        headers = {
            # With a query, so that a client must append its digest the right way.
            "Location": f"/v2/{name}/blobs/uploads/{session}{state}",
            "Range": f"0-{max(0, length - 1)}",
            "Docker-Upload-UUID": session,
            **({} if self.habits.least is None else {"OCI-Chunk-Min-Length": str(self.habits.least)}),
        }
        return Response(status, headers)

    # --- lists

    def _tags(self, call: Call, name: str, rest: str) -> Response:
        repository = self.repositories.get(name)
        if repository is None or rest != "list":
            return refusal(404, "NAME_UNKNOWN", "repository name not known to registry")
        shown, headers = self._page(call, sorted(repository.tags), f"/v2/{name}/tags/list")
        return Response(200, headers, json.dumps({"name": name, "tags": shown}).encode())

    def _catalog(self, call: Call) -> Response:
        if not self.habits.catalog:
            return refusal(404, "UNSUPPORTED", "no such route")
        shown, headers = self._page(call, sorted(self.repositories), "/v2/_catalog")
        return Response(200, headers, json.dumps({"repositories": shown}).encode())

    def _page(self, call: Call, names: list[str], path: str, parameters: str = "") -> tuple[list[str], dict[str, str]]:
        """The sorted `names` after the one that the call has had last, and the headers that lead on."""
        last, asked = call.parameter("last"), call.parameter("n")
        names = [name for name in names if last is None or name > last]
        limits = [limit for limit in (int(asked) if asked and asked.isdigit() else None, self.habits.page) if limit]
        shown = names[: min(limits)] if limits else names
        headers = {"Content-Type": "application/json"}
        if len(shown) < len(names):
            headers["Link"] = f'<{path}?last={quote(shown[-1])}&n={min(limits)}{parameters}>; rel="next"'
        return shown, headers

    def _referrers(self, call: Call, name: str, rest: str) -> Response:
        if not self.habits.referrers or not _DIGEST.fullmatch(rest):
            return refusal(404, "NAME_UNKNOWN", "no such route")
        wanted = call.parameter("artifactType")
        found: dict[str, dict[str, Any]] = {}
        for digest, (media_type, data) in self.repositories.get(name, Repository()).manifests.items():
            manifest = json.loads(data)
            kind = manifest.get("artifactType") or (manifest.get("config") or {}).get("mediaType")
            if (manifest.get("subject") or {}).get("digest") == rest:
                entry = {"mediaType": media_type, "digest": digest, "size": len(data), "artifactType": kind}
                found[digest] = {**entry, "annotations": manifest.get("annotations", {})}
        filtered = wanted is not None and self.habits.filters
        names = sorted(digest for digest, entry in found.items() if not filtered or entry["artifactType"] == wanted)
        parameters = f"&artifactType={quote(wanted, safe='')}" if wanted is not None else ""
        shown, headers = self._page(call, names, f"/v2/{name}/referrers/{rest}", parameters)
        headers["Content-Type"] = media.OCI_INDEX
        if filtered:
            headers["OCI-Filters-Applied"] = "artifactType"
        body = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [found[digest] for digest in shown]}
        return Response(200, headers, json.dumps(body).encode())


def ranged(call: Call, data: bytes) -> Response:
    """`data`, or the one range of it that `call` asks for (RFC 9110 §14.2)."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
    asked = _RANGE.fullmatch(call.headers.get("range", ""))
    if asked is None or asked[0] == "bytes=-":
        return Response(200, headers, data)
    if asked[1]:
        start, stop = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else len(data), len(data))
    else:
        start, stop = max(0, len(data) - int(asked[2])), len(data)
    if start >= stop:
        return Response(416, {**headers, "Content-Range": f"bytes */{len(data)}"})
    return Response(206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}, data[start:stop])


def _stored(name: str, digest: str) -> Response:
    return Response(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})


def _missing_blobs(digests: list[str]) -> Response:
    errors = [
        {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": {"digest": digest}}
        for digest in digests
    ]
    return Response(400, {"Content-Type": "application/json"}, json.dumps({"errors": errors}).encode())


def _accepts(accept: str, media_type: str) -> bool:
    kinds = {part.partition(";")[0].strip() for part in accept.split(",")}
    return bool(kinds & {media_type, "*/*", "application/*"})


def _parse_manifest(data: bytes, media_type: str) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("schemaVersion") != 2 or media_type not in media.MANIFEST_TYPES:
        return None
    return value if value.get("mediaType", media_type) == media_type else None


def _needs(manifest: Mapping[str, Any]) -> list[str]:
    config = [manifest["config"]] if isinstance(manifest.get("config"), dict) else []
    parts = config + list(manifest.get("layers") or []) + list(manifest.get("manifests") or [])
    return list(dict.fromkeys(str(part.get("digest")) for part in parts if not part.get("urls")))
