"""What a registry can do, found out by asking it: a health check's questions (distribution-spec 1.1)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import quote

from modelops_bundle.errors import Corrupt, Unavailable
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.net.auth import push_scope
from modelops_bundle.net.exchange import Reply, Request
from modelops_bundle.net.options import Origin
from modelops_bundle.net.problems import is_html
from modelops_bundle.stores.learned import Learned
from modelops_bundle.stores.repository import Repository
from modelops_bundle.stores.sessions import Session
from modelops_bundle.stores.uploads import Place, Put

_BLOB = "application/octet-stream"
_PART = (3, 9)
_DELETED = (200, 202, 204)
_NOT_DELETED = (400, 401, 403, 404, 405, 501)


@dataclass(frozen=True, slots=True)
class Received:
    """How a part of a blob came: whether only the part did, and from which host."""

    ranges: bool
    host: str


class Probes:
    """Questions to one repository. Each asks once, with the client's retries, and notes what it learnt."""

    def __init__(self, repository: Repository, learned: Learned) -> None:
        self._repository = repository
        self._learned = learned
        self._content = b""

    def root(self, *, login: bool) -> Reply:
        """The answer to the version check (`/v2/`).

        :param login: as somebody who may push; else as nobody.
        :raises Unavailable: it is no registry.
        """
        scope = push_scope(self._repository.name) if login else None
        accept = frozenset([200, 404] if login else [200, 401, 403, 404])
        request = Request("GET", f"{self._repository.origin}/v2/", "root", accept=accept, scope=scope, key="registry")
        reply = self._repository.fetch(request)
        if is_html(reply.headers, reply.body) or (reply.status == 404 and not _speaks(reply)):
            host = self._repository.host
            hint = "check the host name and port, and any proxy in between"
            raise Unavailable(f"{host} is no registry: it answers {reply.status} to /v2/", hint=hint, host=host)
        return reply

    def push(self) -> Descriptor:
        """Store a small blob that nobody else has."""
        self._content = f"modelops-bundle registry check {secrets.token_hex(16)}\n".encode()
        what = Descriptor.of(_BLOB, self._content)
        Put(Place(self._repository, learned=self._learned), what, [self._content]).run()
        return what

    def part(self, what: Descriptor) -> Received:
        """Ask for a part of the blob that `push` stored, or of another one.

        :raises Corrupt: it is another part.
        """
        start, stop = _PART
        request = self._repository.request(
            "GET",
            f"blobs/{what.digest}",
            "blob",
            headers={"Range": f"bytes={start}-{stop - 1}"},
            accept=(200, 206),
        )

        def ask() -> tuple[bool, bytes, str]:
            # Not `fetch`: who ignores the range sends all of it, and that is not worth reading.
            with self._repository.once(request) as answer:
                ranges = answer.status == 206
                return ranges, answer.read(stop - start) if ranges else b"", Origin.of(answer.url).netloc

        ranges, data, host = self._repository.client.retry(request.name, ask)
        if ranges and self._content and data != self._content[start:stop]:
            raise Corrupt(f"{host} answers with other bytes than were asked for", host=host)
        self._learned.note(self._repository.host, "ranges", ranges)
        return Received(ranges, host)

    def mounts(self, what: Descriptor) -> bool:
        """Whether a blob is taken over from a repository (here: its own) without being sent."""
        query = f"mount={quote(str(what.digest), safe=':')}&from={quote(self._repository.name, safe='/')}"
        request = self._repository.request("POST", f"blobs/uploads/?{query}", "upload", accept=(201, 202))
        reply = self._repository.fetch(request)
        if reply.status == 202:
            Session.of_reply(self._repository, "the check", reply).discard()
        self._learned.note(self._repository.host, "mounts", reply.status == 201)
        return reply.status == 201

    def referrers(self, what: Descriptor) -> bool:
        """Whether the referrers API is there."""
        request = self._repository.request(
            "GET",
            f"referrers/{what.digest}",
            "referrers",
            headers={"Accept": media.OCI_INDEX},
            accept=(200, 400, 404, 405),
        )
        reply = self._repository.fetch(request, media.MAX_MANIFEST)
        there = reply.status == 200 and reply.headers.get("content-type", "").startswith(media.OCI_INDEX)
        self._learned.note(self._repository.host, "referrers", there)
        return there

    def delete(self, what: Descriptor) -> bool:
        """Delete the blob that `push` stored; False when this registry, or this login, cannot."""
        request = self._repository.request(
            "DELETE", f"blobs/{what.digest}", "blob", accept=(*_DELETED, *_NOT_DELETED), actions="delete"
        )
        return self._repository.fetch(request).status in _DELETED


def _speaks(reply: Reply) -> bool:
    return bool(reply.headers.get("docker-distribution-api-version"))
