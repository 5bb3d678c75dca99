"""Reading content from a registry: ranges, and going on after a cut (distribution-spec, "Pulling blobs")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from modelops_bundle.errors import Corrupt, NotFound, Unavailable
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks
from modelops_bundle.net.exchange import Answer
from modelops_bundle.net.problems import is_html
from modelops_bundle.net.retry import Transient
from modelops_bundle.stores.repository import Repository, key_of, wrong

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_PROGRESS = 1024 * 1024
"""Bytes after which a broken transfer counts as a new one: a long download survives any number of cuts."""


@contextmanager
def reading(repository: Repository, what: Descriptor, start: int, stop: int | None) -> Iterator[Chunks]:
    """The bytes `start` to `stop` of `what`, unverified; see `ports.Reader.open`."""
    download = _Download(repository, what, start, stop)
    try:
        download.begin()
        yield iter(download)
    finally:
        download.close()


@contextmanager
def reading_part(
    repository: Repository, what: Descriptor, start: int, stop: int, hindered: Callable[[], None]
) -> Iterator[Chunks | None]:
    """The bytes `start` to `stop` of `what`, unverified; see `ports.Parts.part`."""
    download = _Download(repository, what, start, stop, hindered)
    try:
        download.begin()
        yield None if download.gets_more else iter(download)
    finally:
        download.close()


def _patiently() -> None:
    """Wait as the policy says."""


class _Download:
    def __init__(
        self,
        repository: Repository,
        what: Descriptor,
        start: int,
        stop: int | None,
        hindered: Callable[[], None] = _patiently,
    ) -> None:
        self._repository = repository
        self._what = what
        self._end = what.size if stop is None else min(stop, what.size)
        self._at = min(max(start, 0), self._end)
        self._answer: Answer | None = None
        self._skip = 0
        self._key = key_of(what)
        self._hindered = hindered

    @property
    def gets_more(self) -> bool:
        """Whether the open answer is the whole, of which only a part is wanted."""
        return self._answer is not None and self._answer.status == 200 and self._end - self._at < self._what.size

    def begin(self) -> None:
        """Ask for the bytes.

        :raises NotFound: they are not there.
        """
        failed = 0
        while self._answer is None:
            try:
                self._open()
            except Transient as trouble:
                failed += 1
                self._pause(failed, trouble)

    def _pause(self, failed: int, trouble: Transient) -> None:
        # A connection that breaks in the middle is an accident; one that is refused or falls silent is one too many.
        refused = self._answer is None and trouble.cause in ("answer", "refused")
        self.close()
        if refused or trouble.cause == "stall":
            self._hindered()
        self._repository.client.wait(self._key, failed, trouble)

    def close(self) -> None:
        """Let go of the connection."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def __iter__(self) -> Iterator[bytes]:
        failed, mark = 0, self._at
        while True:
            try:
                if self._answer is None:
                    self._open()
                yield from self._pieces()
                return
            except Transient as trouble:
                if self._at - mark >= _PROGRESS:
                    failed, mark = 0, self._at
                failed += 1
                self._pause(failed, trouble)

    def _open(self) -> None:
        is_manifest = self._what.media_type in media.MANIFEST_TYPES
        headers: dict[str, str] = {}
        if is_manifest:
            headers["Accept"] = ", ".join(media.MANIFEST_TYPES)
        elif self._at < self._end and (self._at, self._end) != (0, self._what.size):
            headers["Range"] = f"bytes={self._at}-{self._end - 1}"
        kind = "manifest" if is_manifest else "blob"
        request = self._repository.request(
            "GET", f"{kind}s/{self._what.digest}", kind, headers=headers, accept=(200, 206, 404, 416), key=self._key
        )
        answer = self._repository.once(request)
        try:
            self._skip = self._check(answer, ranged="Range" in headers)
        except BaseException:
            answer.close()
            raise
        self._answer = answer

    def _check(self, answer: Answer, *, ranged: bool) -> int:
        """How many bytes of the body come before the first wanted one."""
        if answer.status == 404:
            missing = NotFound(
                f"{self._repository.host}/{self._repository.name} lacks {self._key}",
                digest=self._key,
                host=self._repository.host,
            )
            # A manifest the registry took names this blob, so its replicas disagree: one more look.
            raise Transient(missing, cause="lag") if self._what.media_type not in media.MANIFEST_TYPES else missing
        if answer.status == 206 and ranged:
            self._check_range(answer.headers)
            expected, skip = self._end - self._at, 0
        elif answer.status == 200:
            expected, skip = self._what.size, self._at
        else:
            raise wrong(
                f"{self._repository.host} has no bytes {self._at}-{self._end - 1} of {self._key}",
                hint="the content there is shorter than its manifest says; push the version again",
                digest=self._key,
            )
        if answer.length not in (None, expected):
            if is_html(answer.headers, b""):
                raise Transient(Unavailable(f"{self._repository.host} answered with HTML instead of a blob"))
            raise wrong(
                f"{self._repository.host} sends {answer.length} bytes of {self._key} instead of {expected}",
                digest=self._key,
            )
        return skip

    def _check_range(self, headers: Mapping[str, str]) -> None:
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        size = str(self._what.size)
        if found is None or found[3] not in (size, "*") or (int(found[1]), int(found[2])) != (self._at, self._end - 1):
            raise wrong(
                f"{self._repository.host} answers with another range of {self._key} than {self._at}-{self._end - 1}",
                digest=self._key,
            )

    def _pieces(self) -> Iterator[bytes]:
        """Yield the wanted bytes of the open answer, moving `_at` along."""
        answer = self._answer
        assert answer is not None
        more_follows = answer.status == 200 and self._end < self._what.size
        for chunk in answer.chunks():
            if self._skip:
                dropped = min(self._skip, len(chunk))
                self._skip -= dropped
                chunk = chunk[dropped:]
            left = self._end - self._at
            if len(chunk) > left and not more_follows:
                raise Corrupt(
                    f"{self._repository.host} sends more than the {self._what.size} bytes of {self._key}",
                    digest=self._key,
                )
            if chunk := chunk[:left]:
                self._at += len(chunk)
                yield chunk
            if more_follows and self._at == self._end:
                return
        if self._at < self._end:
            raise Transient(Unavailable(f"{self._repository.host} ended {self._key} early", digest=self._key))
