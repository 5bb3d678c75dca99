"""Sending blobs to a registry (distribution-spec, "Pushing blobs").

One request asks whether the blob is there and starts an upload when it is not: a cross-repository mount from the
repository itself (facts: performance §5, "self-mount"). Registries that do not honour that only cost the upload again,
so large blobs are asked for by name before their bytes go out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from urllib.parse import quote, urlsplit

from modelops_bundle.errors import BundleError, Corrupt, NotFound, Unavailable, Unsupported
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.net.exchange import Reply, Request
from modelops_bundle.net.problems import complaints
from modelops_bundle.net.redact import redact_url
from modelops_bundle.net.retry import Transient
from modelops_bundle.stores.repository import Repository, key_of, said_otherwise

LARGE = 64 * 1024 * 1024
"""Bytes from which one more request is cheaper than sending a blob that is there."""
SMALL = 1024 * 1024
"""Bytes up to which a blob is checked whole before anything is sent."""
STORING = 20_000_000
"""Bytes per second at which a slow registry moves a blob to its final place, silently, before it answers: copies
within an object store take minutes for large ones."""


class Checked:
    """The pieces of a blob, the last one withheld until size and digest are known to be right.

    So wrong bytes never make a complete upload: the registry sees a body cut short.

    :raises Corrupt: while iterating, when the bytes are not those that `what` describes.
    """

    def __init__(self, what: Descriptor, chunks: Iterable[bytes]) -> None:
        self._what = what
        self._chunks = chunks
        self.started = False
        self.finished = False

    def __iter__(self) -> Iterator[bytes]:
        self.started = True
        hasher, size, held = hashlib.sha256(), 0, b""
        for chunk in self._chunks:
            if not chunk:
                continue
            size += len(chunk)
            if size > self._what.size:
                raise self._corrupt(f"more than {self._what.size} bytes")
            if held:
                yield held
            held = chunk
            hasher.update(chunk)
        if size != self._what.size:
            raise self._corrupt(f"{size} bytes instead of {self._what.size}")
        if hasher.hexdigest() != self._what.digest.hex:
            raise self._corrupt(f"bytes of sha256:{hasher.hexdigest()}")
        self.finished = True
        if held:
            yield held

    def _corrupt(self, found: str) -> Corrupt:
        return Corrupt(
            f"the content to send as {self._what.digest} has {found}",
            hint="something changed it while it was read: run the command again",
            digest=str(self._what.digest),
        )


class Upload:
    """Puts one blob.

    :param chunks: its bytes; re-iterable for failed attempts to be retried from the start.
    """

    def __init__(self, repository: Repository, what: Descriptor, chunks: Iterable[bytes]) -> None:
        self._repository = repository
        self._what = what
        self._chunks = chunks
        self._restartable = iter(chunks) is not chunks
        self._whole: bytes | None = None
        self._key = key_of(what)

    def run(self) -> None:
        """Make the blob be there."""
        self._repository.client.retry(self._key, self._attempt)

    def _attempt(self) -> None:
        session = self._start()
        if session is None:
            return
        if self._what.size >= LARGE and self._is_there():
            self._discard(session)
            return
        try:
            self._send(session)
        except Corrupt:
            self._discard(session)
            raise

    def _start(self) -> str | None:
        """The URL of a fresh upload session, None when the blob is there already."""
        digest, name = quote(str(self._what.digest), safe=":"), quote(self._repository.name, safe="/")
        for query in (f"?mount={digest}&from={name}", ""):
            request = self._repository.request(
                "POST", f"blobs/uploads/{query}", "upload", accept=(201, 202, 400, 405), key=self._key
            )
            reply = self._repository.fetch(request)
            if reply.status == 201:
                return None
            if reply.status == 202:
                return self._session(request.url, reply)
            if not query:
                raise self._repository.error(request, reply)
        raise AssertionError("unreachable")

    def _session(self, asked: str, reply: Reply) -> str:
        location = reply.headers.get("location")
        if not location:
            raise Unavailable(f"{self._repository.host} starts an upload and does not say where")
        url = self._repository.below(asked, location)
        if url is None:
            raise Unsupported(
                f"{self._repository.host} wants the upload sent to {redact_url(location)}, which is another server",
                hint="the registry, or a proxy before it, has its own address wrong",
                host=self._repository.host,
            )
        return url

    def _is_there(self) -> bool:
        request = self._repository.request(
            "HEAD", f"blobs/{self._what.digest}", "blob", accept=(200, 404), key=self._key
        )
        return self._repository.fetch(request).status == 200

    def _discard(self, session: str) -> None:
        # Politeness only: registries expire sessions by themselves, and not all let us delete one.
        request = self._repository.request("DELETE", session, "upload", accept=(202, 204, 404))
        with suppress(BundleError, Transient):
            self._repository.once(request).close()

    def _send(self, session: str) -> None:
        body = self._body()
        url = f"{session}{'&' if urlsplit(session).query else '?'}digest={self._what.digest}"
        request = self._repository.request(
            "PUT",
            url,
            "upload",
            headers={"Content-Type": "application/octet-stream"},
            body=body,
            length=self._what.size,
            accept=(200, 201, 204, 400, 404, 416),
            key=self._key,
            patience=self._what.size / STORING,
        )
        try:
            with self._repository.once(request) as answer:
                reply = Reply(answer.status, answer.headers, answer.read_error(), answer.url)
            self._check(request, reply)
        except Transient as trouble:
            if isinstance(body, Checked) and body.started and not self._restartable:
                raise trouble.error from trouble
            raise
        if isinstance(body, Checked) and not body.finished:
            raise Transient(Unavailable(f"{self._repository.host} took {self._key} before it was sent"))

    def _body(self) -> bytes | Checked:
        checked = Checked(self._what, self._chunks)
        if self._what.size > SMALL:
            return checked
        if self._whole is None:
            self._whole = b"".join(checked)
        return self._whole

    def _check(self, request: Request, reply: Reply) -> None:
        if reply.status in (200, 201, 204):
            lie = said_otherwise(reply.headers, self._what.digest, self._repository.host)
            if lie is not None:
                raise lie
            return
        error = self._repository.error(request, reply)
        codes = {complaint.code for complaint in complaints(reply.body)}
        if codes & {"DIGEST_INVALID", "SIZE_INVALID"}:
            # They left here right.
            raise Transient(Corrupt(f"{self._repository.host} received other bytes than {self._key}"), cause="corrupt")
        if reply.status in (404, 416) or codes & {"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"}:
            # A session dies with its registry process, or is unknown to its other replicas: start again.
            raise Transient(_lost(error, self._repository.host))
        raise error


def _lost(error: BundleError, host: str) -> BundleError:
    # "Not found" would read as if the content were absent.
    return Unavailable(f"{host} lost the upload: {error.message}", host=host) if isinstance(error, NotFound) else error
