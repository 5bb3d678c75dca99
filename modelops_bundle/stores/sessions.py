"""An upload session at a registry: where its next bytes go, and how many have arrived (distribution-spec, "Pushing
blobs"; what registries make of it: facts OCI §3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from modelops_bundle.errors import BundleError, Corrupt, NotFound, Unavailable, Unsupported
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Piece
from modelops_bundle.net.exchange import Reply, Request
from modelops_bundle.net.problems import complaints
from modelops_bundle.net.redact import redact_url
from modelops_bundle.net.retry import Transient
from modelops_bundle.stores.repository import Repository, said_otherwise

STORING = 20_000_000
"""Bytes per second at which a slow registry moves a blob to its final place, silently, before it answers: copies
within an object store take minutes for large ones."""

_BYTES = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")
_LOST = frozenset(["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"])
_DAMAGED = frozenset(["DIGEST_INVALID", "SIZE_INVALID"])
# What registries answer that know no PATCH, or none of this size.
_NO_PATCH = (400, 405, 411, 413, 415, 416, 501)


class Lost(Transient):
    """The registry says that the session is no more, or cannot be ended."""


class Session:
    """One upload under way.

    :param key: how events call the blob.
    :param url: the newest `Location`, resolved.
    :param offset: bytes that have arrived.
    :param least: bytes that every part but the last must have (`OCI-Chunk-Min-Length`).
    """

    def __init__(self, repository: Repository, key: str, url: str, offset: int = 0, least: int = 0) -> None:
        self._repository = repository
        self._key = key
        self.url = url
        self.offset = offset
        self.least = least

    @classmethod
    def of_reply(cls, repository: Repository, key: str, reply: Reply) -> Session:
        """The session that a 202 opened.

        :raises Unavailable: it does not say where. :raises Unsupported: it is at another server.
        """
        url = _location(repository, reply.url, reply.headers)
        if url is None:
            raise Unavailable(f"{repository.host} starts an upload and does not say where")
        least = reply.headers.get("oci-chunk-min-length", "").strip()
        return cls(repository, key, url, 0, int(least) if re.fullmatch(r"[0-9]{1,12}", least) else 0)

    def append(self, pieces: Iterable[Piece], size: int) -> None:
        """Send the next `size` bytes (PATCH).

        :raises Unsupported: the registry takes no such parts.
        :raises Transient: the session is lost, or did not take what was sent.
        """
        headers = {**_BYTES, "Content-Range": f"{self.offset}-{self.offset + size - 1}"}
        accept = (201, 202, 204, 404, *_NO_PATCH)
        request = self._request("PATCH", self.url, pieces, size, headers, accept, size / STORING)
        reply = self._sent(request)
        codes = _codes(reply)
        if reply.status == 404 or codes & _LOST or (reply.status == 416 and self.offset):
            # 416 at the very first part is about its size; later it means that we count differently.
            raise Lost(self._lost(request, reply))
        if reply.status in _NO_PATCH:
            host = self._repository.host
            raise Unsupported(f"{host} takes no such uploads in parts", host=host, status=reply.status)
        self._move(request.url, reply.headers)
        arrived = _arrived(reply.headers)
        self.offset += size
        if arrived is not None and arrived != self.offset:
            # distribution 2.8 appends whatever it gets: never go on with a session that counts differently.
            self.discard()
            raise Transient(Unavailable(f"{self._repository.host} has {arrived} bytes of {self.offset} sent"))

    def finish(self, digest: Digest, total: int, pieces: Iterable[Piece] | bytes = b"", size: int = 0) -> None:
        """Send the last `size` bytes, none as a rule after `append`, and make all of them the blob `digest` (PUT).

        :param total: bytes of the whole blob.
        :raises Transient: the session is lost; with cause `corrupt`, other bytes arrived.
        """
        url = f"{self.url}{'&' if urlsplit(self.url).query else '?'}digest={digest}"
        request = self._request(
            "PUT", url, pieces, size, _BYTES, accept=(200, 201, 204, 400, 404, 416), patience=total / STORING
        )
        reply = self._sent(request)
        if reply.status in (200, 201, 204):
            lie = said_otherwise(reply.headers, digest, self._repository.host)
            if lie is not None:
                raise lie
            return
        codes = _codes(reply)
        if codes & _DAMAGED:
            raise Transient(Corrupt(f"{self._repository.host} received other bytes than {self._key}"), cause="corrupt")
        if reply.status in (404, 416) or codes & _LOST:
            # A session dies with its registry process, or is unknown to its other replicas: start again.
            raise Lost(self._lost(request, reply))
        raise self._repository.error(request, reply)

    def ask(self) -> bool:
        """Learn how much has arrived; False when the session is lost, or not worth going on with."""
        request = self._request("GET", self.url, None, 0, {}, accept=(200, 202, 204, 400, 404, 405, 410, 416))
        reply = self._repository.fetch(request)
        # `0-0` is what one byte looks like, and what none looks like.
        arrived = _arrived(reply.headers) if reply.status in (200, 202, 204) else None
        if not arrived or arrived == 1:
            return False
        self._move(request.url, reply.headers)
        self.offset = arrived
        return True

    def discard(self) -> None:
        """Tell the registry to forget it. Politeness only: registries expire sessions by themselves, and not all let
        us delete one.
        """
        with suppress(BundleError, Transient):
            self._repository.once(self._request("DELETE", self.url, None, 0, {}, accept=(202, 204, 404))).close()

    def _request(
        self,
        method: str,
        url: str,
        body: Iterable[Piece] | bytes | None,
        length: int,
        headers: Mapping[str, str],
        accept: Iterable[int],
        patience: float = 0.0,
    ) -> Request:
        return self._repository.request(
            method,
            url,
            "upload",
            headers=headers,
            body=body,
            length=length,
            accept=accept,
            key=self._key,
            patience=patience,
        )

    def _sent(self, request: Request) -> Reply:
        with self._repository.once(request) as answer:
            # What was taken is noted before anything else can happen, Ctrl-C included.
            body = answer.read_error() if answer.status >= 400 else b""
            return Reply(answer.status, answer.headers, body, answer.url)

    def _move(self, asked: str, headers: Mapping[str, str]) -> None:
        self.url = _location(self._repository, asked, headers) or self.url

    def _lost(self, request: Request, reply: Reply) -> BundleError:
        error, host = self._repository.error(request, reply), self._repository.host
        # "Not found" would read as if the content were absent.
        return Unavailable(f"{host} lost the upload: {error.message}", host=host) if _is_absence(error) else error


def _is_absence(error: BundleError) -> bool:
    return isinstance(error, NotFound)


def _codes(reply: Reply) -> set[str]:
    return {complaint.code for complaint in complaints(reply.body)}


def _location(repository: Repository, asked: str, headers: Mapping[str, str]) -> str | None:
    location = headers.get("location")
    if not location:
        return None
    url = repository.below(asked, location)
    if url is None:
        raise Unsupported(
            f"{repository.host} wants the upload sent to {redact_url(location)}, which is another server",
            hint="the registry, or a proxy before it, has its own address wrong",
            host=repository.host,
        )
    return url


def _arrived(headers: Mapping[str, str]) -> int | None:
    """How many bytes a `Range` of an upload says have arrived, None when it says nothing."""
    said = _RANGE.fullmatch(headers.get("range", "").strip())
    return int(said[1]) + 1 if said else None
