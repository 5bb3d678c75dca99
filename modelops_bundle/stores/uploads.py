"""Sending blobs to a registry (distribution-spec, "Pushing blobs").

One request asks whether the blob is there and starts an upload when it is not: a cross-repository mount, from the
repository itself when no other is known to have it (facts: performance §5, "self-mount"). Registries that do not honour
that only cost the upload again, so large blobs are asked for by name before their bytes go out.

A file whose digest was taken in its present state is not hashed again: the registry does that, and refuses other bytes
under its digest. Everything else is checked here, and its last piece withheld until it is known to be right.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote

from modelops_bundle.errors import BundleError, Corrupt, Interrupted, Terminated, Unauthorized, Unavailable, Unsupported
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Watched
from modelops_bundle.net.auth import pull_scope, push_scope
from modelops_bundle.net.exchange import Reply, Request
from modelops_bundle.net.retry import Transient
from modelops_bundle.stores.bodies import Body, Checked, Hashed, body_of, opened, pieces_of, restartable
from modelops_bundle.stores.learned import Fact, Learned, Value
from modelops_bundle.stores.registries import MIB, PART, Profile
from modelops_bundle.stores.repository import Repository, key_of, said_otherwise
from modelops_bundle.stores.sessions import Lost, Session
from modelops_bundle.stores.unfinished import Begun, Unfinished

LARGE = 64 * 1024 * 1024
"""Bytes from which one more request is cheaper than sending a blob that is there."""
SMALL = 1024 * 1024
"""Bytes up to which a blob is checked whole before anything is sent."""
PROBE = 128 * 1024
"""Bytes up to which a blob may find out whether one POST is enough: what a server that ignores its body reads anyway
to keep the connection (Go's net/http: 256 KiB)."""

_PARTS = (PART, 8 * MIB, MIB)
"""Bytes of the parts to try where a whole blob in one request was refused as too large; nginx takes 1 MiB by default."""
_MOUNTED = (201, 202, 400, 405)
_POSTED = (201, 202, 400, 404, 405, 411, 413, 415, 501)


@dataclass
class Place:
    """Where blobs go: the repository, what was learnt of its registry on the way, and what was begun there."""

    repository: Repository
    unfinished: Unfinished = field(default_factory=Unfinished)
    learned: Learned = field(default_factory=Learned)
    probing: threading.Lock = field(default_factory=threading.Lock)
    barren: set[str] = field(default_factory=set)
    """Repositories that nothing can be mounted from: gone, or not for this login."""

    @property
    def single_post(self) -> bool | None:
        """Whether a POST with the content is enough; None until somebody tried."""
        known = self.learned.get(self.repository.host, "single_post")
        return None if known is None else bool(known)

    def learn(self, fact: Fact, value: Value) -> None:
        """Note something about the registry."""
        self.learned.note(self.repository.host, fact, value)

    def can(self, fact: Literal["parts", "streams"]) -> bool:
        """Whether nothing is known against it."""
        return self.learned.get(self.repository.host, fact) is not False

    def profile(self, session: str = "") -> Profile:
        """What the registry is, as far as the URL of an upload session shows."""
        return self.learned.profile(self.repository.host, session)

    def part(self, size: int, session: str) -> int | None:
        """Bytes to send at once of a blob of `size` bytes; None for all of them."""
        profile = self.profile(session)
        refused = self.learned.get(self.repository.host, "body")
        most = min((each for each in (profile.body, refused) if isinstance(each, int)), default=None)
        if most is not None and size >= most:
            return next((part for part in _PARTS if part < most), None)
        if profile.part is None or size < profile.parts_from:
            return None
        return profile.part

    @contextmanager
    def may_post(self, size: int) -> Iterator[bool]:
        """Whether to send a blob of `size` bytes in a single POST. Only one worker tries what is not known."""
        probe = self.single_post is None and size <= PROBE and self.probing.acquire(blocking=False)
        try:
            yield bool(probe or self.single_post)
        finally:
            if probe:
                self.probing.release()


class Put:
    """Puts one blob of known digest.

    :param chunks: its bytes; `Openable` or re-iterable for failed attempts to be retried from the start.
    :param sources: repositories of the same registry that are known to hold the blob, the likeliest first.
    """

    def __init__(self, place: Place, what: Descriptor, chunks: Iterable[bytes], sources: Sequence[str] = ()) -> None:
        self._place = place
        self._repository = place.repository
        self._what = what
        self._chunks = chunks
        self._sources = sources
        self._whole: bytes | None = None
        self._trust = True
        self._mounted = False
        self._arrived = 0
        self._key = key_of(what)

    def run(self) -> bool:
        """Make the blob be there; True when it came from one of the `sources`."""
        failed, mark = 0, 0
        while True:
            try:
                self._attempt()
                return self._mounted
            except Transient as trouble:
                if self._arrived > mark:
                    # A long upload survives any number of cuts and logins, as long as it gets on.
                    failed, mark = 0, self._arrived
                failed += 1
                self._repository.client.wait(self._key, failed, trouble)

    def _attempt(self) -> None:
        session = self._begin()
        if session is None:
            return
        if self._what.size >= LARGE and not session.offset and self._is_there():
            session.discard()
            return
        try:
            self._send(session)
        except (Interrupted, Terminated):
            # It stays for the next run.
            raise
        except BundleError as error:
            if session.offset and isinstance(error, (Unauthorized, Unavailable)) and "status" not in error.facts:
                # The login failed, not the upload: with a good one the next run goes on.
                raise
            self._forget()
            session.discard()
            raise
        except Transient as trouble:
            self._trust = self._trust and trouble.cause != "corrupt"
            if trouble.cause == "corrupt" or isinstance(trouble, Lost):
                # It may still answer when it is asked how far it came, and never take more.
                self._forget()
            raise
        self._forget()

    # --- starting

    def _begin(self) -> Session | None:
        """A session to send to; None when the blob is there by now."""
        resumed = self._resumed()
        if resumed is not None:
            return resumed
        if self._what.size <= SMALL and not self._sources:
            with self._place.may_post(self._what.size) as may:
                if may and (reply := self._posted()).status in (201, 202):
                    return None if reply.status == 201 else self._session(reply)
        return self._start()

    def _posted(self) -> Reply:
        """The answer to a small blob that was sent in one request, where 202 means a session without it."""
        request = self._repository.request(
            "POST",
            f"blobs/uploads/?digest={quote(str(self._what.digest), safe=':')}",
            "upload",
            headers={"Content-Type": "application/octet-stream"},
            body=self._content(),
            accept=_POSTED,
            key=self._key,
        )
        with self._repository.once(request) as answer:
            reply = Reply(answer.status, answer.headers, answer.read_error(), answer.url)
        self._place.learn("single_post", reply.status == 201)
        lie = said_otherwise(reply.headers, self._what.digest, self._repository.host)
        if reply.status == 201 and lie is not None:
            raise lie
        return reply

    def _session(self, reply: Reply) -> Session:
        return Session.of_reply(self._repository, self._key, reply)

    def _start(self) -> Session | None:
        """A fresh upload session, None when the blob is there by now."""
        digest, own = quote(str(self._what.digest), safe=":"), self._repository.name
        fertile = (source for source in self._sources if source not in self._place.barren)
        for source in (*fertile, own, None):
            query = "" if source is None else f"?mount={digest}&from={quote(source, safe='/')}"
            request = self._repository.request(
                "POST", f"blobs/uploads/{query}", "upload", accept=_MOUNTED, key=self._key
            )
            reply = self._answer(request, source, own)
            if reply is None:
                continue
            if reply.status == 201:
                self._mounted = source in self._sources
                return None
            if reply.status == 202:
                return self._session(reply)
            if source is None:
                raise self._repository.error(request, reply)
        raise AssertionError("unreachable")

    def _answer(self, request: Request, source: str | None, own: str) -> Reply | None:
        """The answer to a start; None when nothing can be mounted from `source`: a saving, and asked for once."""
        if source is None or source == own:
            return self._repository.fetch(request)
        try:
            scope = f"{push_scope(own)} {pull_scope(source)}"
            with self._repository.once(replace(request, scope=scope)) as answer:
                return Reply(answer.status, answer.headers, answer.read_error(), answer.url)
        except (Interrupted, Terminated):
            raise
        except (BundleError, Transient):
            self._place.barren.add(source)
            return None

    def _is_there(self) -> bool:
        request = self._repository.request(
            "HEAD", f"blobs/{self._what.digest}", "blob", accept=(200, 404), key=self._key
        )
        return self._repository.fetch(request).status == 200

    # --- sending

    def _send(self, session: Session) -> None:
        if self._what.size <= SMALL:
            data = self._content()
            session.finish(self._what.digest, len(data), data, len(data))
            return
        with opened(self._chunks) as chunks:
            body: Body | None = None
            try:
                body = body_of(self._what, chunks, session.offset, trust=self._trust)
                self._send_body(session, body)
            except Transient as trouble:
                if body is not None and body.started and not restartable(self._chunks):
                    raise trouble.error from trouble
                raise
            if body.left:
                raise Transient(Unavailable(f"{self._repository.host} took {self._key} before it was sent"))

    def _send_body(self, session: Session, body: Body) -> None:
        size = self._what.size
        part = self._part(session)
        try:
            if part is None:
                session.finish(self._what.digest, size, body.take(size), size)
                return
            while body.left:
                length = min(part, body.left)
                session.append(body.take(length), length)
                self._keep(session)
            session.finish(self._what.digest, size)
        except Unsupported as error:
            if not self._other_way(error, part):
                raise
            session.discard()
            raise Transient(error) from error

    def _other_way(self, error: Unsupported, part: int | None) -> bool:
        """Whether there is another way after `part` bytes at once (None: all of them) were refused; noted for the next."""
        sent = part or self._what.size
        if error.facts.get("status") == 413 and sent > _PARTS[-1] and self._place.can("parts"):
            self._place.learn("body", sent)
            return True
        if part is None:
            return False
        self._place.learn("parts", False)
        return True

    def _part(self, session: Session) -> int | None:
        """Bytes to send at once, None for all of them."""
        part = self._place.part(self._what.size, session.url) if self._place.can("parts") else None
        if part is None:
            # What was begun in parts is ended in parts.
            return self._what.size if session.offset else None
        return max(part, session.least)

    def _content(self) -> bytes:
        if self._whole is None:
            self._whole = b"".join(Checked(self._what, self._chunks))
        return self._whole

    # --- going on

    def _resumed(self) -> Session | None:
        """The session of an earlier attempt, when the registry still knows it."""
        if self._what.size <= SMALL:
            return None
        found = self._place.unfinished.find(*self._names, self._what.size)
        if found is None:
            return None
        with suppress(Corrupt):
            url = self._repository.below(str(self._repository.origin), found.location)
            session = None if url is None else Session(self._repository, self._key, url)
            if session is not None and session.ask() and session.offset <= self._what.size:
                return session
        self._forget()
        return None

    def _keep(self, session: Session) -> None:
        self._arrived = max(self._arrived, session.offset)
        self._place.unfinished.keep(Begun(*self._names, self._what.size, session.url, session.offset))

    def _forget(self) -> None:
        if self._what.size > SMALL:
            self._place.unfinished.forget(*self._names)

    @property
    def _names(self) -> tuple[str, str, str]:
        return str(self._repository.origin), self._repository.name, str(self._what.digest)


class OpenUpload:
    """Puts one blob whose digest is taken while it is sent: one PATCH, then the PUT that names the digest.

    :param name: what events call it. :param size: bytes.
    """

    def __init__(self, place: Place, name: str, size: int, chunks: Iterable[bytes]) -> None:
        self._place = place
        self._repository = place.repository
        self._name = name
        self._size = size
        self._chunks = chunks

    def run(self) -> Digest | None:
        """The digest; None when the registry wants to know it first."""
        if not (self._place.can("streams") and self._place.profile().streams):
            return None
        return self._repository.client.retry(self._name, self._attempt)

    def _attempt(self) -> Digest | None:
        request = self._repository.request("POST", "blobs/uploads/", "upload", accept=(202,), key=self._name)
        session = Session.of_reply(self._repository, self._name, self._repository.fetch(request))
        if self._place.part(self._size, session.url) is not None:
            # Going on after a cut, also in another process, is worth more than reading once.
            session.discard()
            return None
        try:
            seen = self._chunks.watcher() if isinstance(self._chunks, Watched) else None
            with opened(self._chunks) as chunks, Hashed(pieces_of(chunks), seen) as hashed:
                if not self._append(session, hashed):
                    return None
                digest = hashed.digest()
            session.finish(digest, self._size)
        except (Interrupted, Terminated):
            raise
        except BundleError:
            session.discard()
            raise
        except Transient as trouble:
            if not restartable(self._chunks):
                raise trouble.error from trouble
            raise
        return digest

    def _append(self, session: Session, pieces: Iterable[Any]) -> bool:
        body = Body(pieces, self._size)
        try:
            if self._size:
                session.append(body.take(self._size), self._size)
            else:
                body.skip(0)
        except Unsupported:
            if not restartable(self._chunks):
                raise
            self._place.learn("streams", False)
            session.discard()
            return False
        if body.left:
            raise Transient(Unavailable(f"{self._repository.host} took {self._name} before it was sent"))
        return True
