"""A repository of an OCI registry as a store (distribution-spec 1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from modelops_bundle.errors import (
    BundleError,
    Corrupt,
    NotFound,
    TagMoved,
    Unauthorized,
    Unavailable,
    Unsupported,
    UsageError,
)
from modelops_bundle.model import canonical, media
from modelops_bundle.model import referrers as lists
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import ABSENT, ANYTHING, Chunks, Expected
from modelops_bundle.model.reference import check_tag, is_service_tag
from modelops_bundle.net.exchange import Reply, Request
from modelops_bundle.net.problems import complaints, is_html
from modelops_bundle.net.retry import Transient
from modelops_bundle.stores.downloads import reading, reading_part
from modelops_bundle.stores.learned import Learned
from modelops_bundle.stores.listing import MAX_PAGE, PAGE, names, pages
from modelops_bundle.stores.repository import Repository, key_of, said_otherwise, wrong
from modelops_bundle.stores.unfinished import Unfinished
from modelops_bundle.stores.uploads import OpenUpload, Place, Put

if TYPE_CHECKING:
    from pathlib import Path

    from modelops_bundle.net.client import Client
    from modelops_bundle.stores.referrers import Fallback, Pace

_ACCEPT = {"Accept": ", ".join(media.MANIFEST_TYPES)}
_MAX_COMPLAINTS = 1024 * 1024
_DONE = (200, 202, 204)


class RegistryStore:
    """`Reader`, `Parts`, `Writer`, `Tags`, `Lister`, `Untagger`, `Deleter`, `Lists`, `Referrers`, `Dated`, `Upload` and `Mounter`
    over HTTP. Safe to share between threads.

    :param host: the registry as references spell it, `HOST[:PORT]`.
    :param journal: the folder that remembers uploads under way, for a later process to go on with; None forgets them.
    :param learned: what is known of registries, and takes what is learnt of this one.
    :param pace: how to wait between looks at a list of referrers that nobody guards; real time when None.
    :raises UsageError: `repository` is no repository name.
    """

    def __init__(
        self,
        client: Client,
        host: str,
        repository: str,
        journal: Path | None = None,
        learned: Learned | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._repository = Repository(client, host, repository)
        self.learned = learned or Learned()
        self._uploads = Place(self._repository, Unfinished(journal), self.learned)
        self._client = client
        self._where = f"{host}/{repository}"
        self._pace = pace

    def __repr__(self) -> str:
        return f"RegistryStore({self._where!r})"

    # --- content

    def has(self, what: Descriptor) -> bool:
        kind = _kind(what)
        headers = _ACCEPT if kind == "manifest" else {}
        request = self._repository.request(
            "HEAD", f"{kind}s/{what.digest}", kind, headers=headers, accept=(200, 404), key=key_of(what)
        )
        reply = self._repository.fetch(request)
        if reply.status == 404:
            # Wrongly taken for absent, a blob is only sent again; the upload finds out who answers.
            return False
        said = reply.headers.get("content-length", "")
        # A blob of another size under this digest is not this content, whatever the registry calls it.
        return not said.isdigit() or int(said) == what.size

    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> AbstractContextManager[Chunks]:
        return reading(self._repository, what, start, stop)

    @property
    def host(self) -> str:
        return self._repository.host

    def part(
        self, what: Descriptor, start: int, stop: int, hindered: Callable[[], None]
    ) -> AbstractContextManager[Chunks | None]:
        return reading_part(self._repository, what, start, stop, hindered)

    def put(self, what: Descriptor, chunks: Iterable[bytes]) -> None:
        if what.media_type in media.MANIFEST_TYPES:
            self._put_manifest(str(what.digest), what, b"".join(chunks), {})
        else:
            Put(self._uploads, what, chunks).run()

    def upload(self, name: str, size: int, chunks: Iterable[bytes]) -> Digest | None:
        return OpenUpload(self._uploads, name, size, chunks).run()

    def mount(self, what: Descriptor, chunks: Iterable[bytes], repositories: Sequence[str]) -> bool:
        return Put(self._uploads, what, chunks, repositories).run()

    # --- names

    def resolve(self, name: str, *, data: bool = False) -> Descriptor | None:
        digest = Digest.parse(name) if name.startswith("sha256:") else None
        if digest is None:
            check_tag(name)
        if not data:
            reply = self._fetch_manifest("HEAD", name)
            if reply is None:
                return None
            found = self._described(reply, digest)
            if found is not None:
                return found
        return self._client.retry(name, lambda: self._get(name, digest, data))

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Expected) -> None:
        """Let tag `name` stand for the manifest `data`.

        `expect` travels as `If-Match` or `If-None-Match` (RFC 9110 §13.1), which registries of today ignore
        (facts: OCI §3): callers look before and after.
        """
        condition: dict[str, str] = {}
        if expect is ABSENT:
            condition["If-None-Match"] = "*"
        elif expect is not ANYTHING:
            condition["If-Match"] = f'"{expect.digest}"'
        self._put_manifest(check_tag(name), what, data, condition)

    def tags(self) -> Sequence[str]:
        def one(url: str) -> Reply | None:
            request = self._repository.request("GET", url, "tags", accept=(200, 404))
            reply = self._repository.fetch(request, MAX_PAGE)
            if reply.status == 404:
                self._check_absence(reply)
                return None
            if is_html(reply.headers, reply.body):
                raise self._not_a_registry("HTML", reply)
            return reply

        there, what = self._repository, f"the tags of {self._where}"
        first = f"{there.origin}/v2/{there.name}/tags/list?n={PAGE}"
        replies = pages(one, first, there.below, host=there.host, what=what)
        return sorted(names(replies, lambda reply: _tag_names(reply, self._where), host=there.host, what=what))

    def untag(self, name: str, what: Descriptor, *, keep: bool = False) -> bool:
        """Remove tag `name`.

        distribution-spec, "Deleting tags", is optional. Registries without it delete by digest, which takes every tag
        of that manifest along: done only when no other tag stands for it, and not with `keep`.
        """
        standing = self.resolve(check_tag(name))
        if standing is None:
            return True
        if standing.digest != what.digest:
            return False
        if self._delete(name, quietly=not keep):
            return True
        return not keep and not self._is_shared(name, what) and self._delete(str(what.digest), quietly=True)

    def _is_shared(self, name: str, what: Descriptor) -> bool:
        if _is_intent(name):
            return False
        others = (self.resolve(tag) for tag in self.tags() if tag != name and not _is_intent(tag))
        return any(found is not None and found.digest == what.digest for found in others)

    def delete(self, what: Descriptor) -> None:
        """Remove the manifest, and from the list of what it refers to where clients keep that (distribution-spec,
        "Deleting Manifests").
        """
        data = what.data
        if data is None:
            found = self.resolve(str(what.digest), data=True)
            data = found.data if found is not None else None
        request = self._deletion(str(what.digest), (*_DONE, 400, 404, 405, 501))
        reply = self._repository.fetch(request, _MAX_COMPLAINTS)
        if reply.status == 404:
            self._check_absence(reply)
            naming = [] if self.has(what) else [each for each, _ in self._naming(what.digest)]
            for each in naming:
                # A deletion that was killed before it came to the list: nobody knows any more what it referred to.
                each.remove(what.digest)
            if not naming:
                raise NotFound(f"{self._where}@{what.digest} does not exist", digest=str(what.digest))
            return
        if reply.status not in _DONE:
            raise self._undeletable(request, reply)
        subject = lists.subject_of(data) if data is not None else None
        if subject is not None and self._own_list(subject) is None:
            self._fallback(subject).remove(what.digest)

    def listed(self, digest: Digest) -> Descriptor | None:
        return next((entry for _, entry in self._naming(digest)), None)

    def _naming(self, digest: Digest) -> Iterator[tuple[Fallback, Descriptor]]:
        """The lists kept by clients that name `digest`, and what they say of it."""
        try:
            tags = self.tags()
        except Unauthorized:
            return  # who may see no tags may write no list
        for subject in filter(None, map(lists.subject_of_tag, tags)):
            found = self._fallback(subject)
            with suppress(Corrupt):  # something else stands there
                yield from ((found, entry) for entry in found.read() if entry.digest == digest)

    def _undeletable(self, request: Request, reply: Reply) -> BundleError:
        error = self._repository.error(request, reply)
        if reply.status == 400 and error.facts.get("registry_code") != "UNSUPPORTED":
            return error
        return Unsupported(
            f"{self._repository.host} does not let manifests be deleted (status {reply.status})",
            hint="whoever runs the registry can allow it (distribution: storage.delete.enabled), or delete it there",
            **error.facts,
        )

    # --- referrers

    def referrers(self, subject: Digest, artifact_type: str | None = None) -> Sequence[Descriptor]:
        found = self._own_list(subject, artifact_type)
        # Not both: a registry that begins to keep lists has to take over what clients listed (distribution-spec,
        # "Enabling the Referrers API").
        return self._fallback(subject).read(artifact_type) if found is None else found

    def refer(self, subject: Digest, what: Descriptor, data: bytes) -> None:
        entry = lists.describe(what, data)
        reply = self._put_manifest(str(what.digest), what, data, {})
        # What the registry says it lists it does; some list without saying so.
        if reply.headers.get("oci-subject", "").strip() != str(subject) and self._own_list(subject) is None:
            self._fallback(subject).add(entry)

    def _own_list(self, subject: Digest, artifact_type: str | None = None) -> list[Descriptor] | None:
        from modelops_bundle.stores.referrers import ask

        return ask(self._repository, subject, artifact_type)

    def _fallback(self, subject: Digest) -> Fallback:
        from modelops_bundle.stores.referrers import Fallback, Pace

        return Fallback(self, subject, self._where, self._pace or Pace.of(self._client.run), self._client.run)

    # --- the clock

    def now(self) -> float | None:
        return self._repository.now()

    # --- manifests

    def _fetch_manifest(self, method: str, name: str) -> Reply | None:
        request = self._repository.request(
            method, f"manifests/{quote(name, safe=':')}", "manifest", headers=_ACCEPT, accept=(200, 404, 405), key=name
        )
        reply = self._repository.fetch(request, media.MAX_MANIFEST)
        if reply.status == 404:
            if method == "HEAD" and not _speaks(reply):
                # Nothing in the headers says that a registry answered; the body of a GET will.
                return self._fetch_manifest("GET", name)
            self._check_absence(reply)
            return None
        if reply.status == 405 and method == "GET":
            raise self._repository.error(request, reply)
        return reply

    def _described(self, reply: Reply, digest: Digest | None) -> Descriptor | None:
        """What the headers of an answer say, None when they leave something out."""
        media_type = _media_type(reply)
        said = reply.headers.get("docker-content-digest", "").strip()
        size = reply.headers.get("content-length", "")
        if reply.status != 200 or media_type is None or not said.startswith("sha256:") or not size.isdigit():
            return None
        found = Digest.parse(said)
        if digest is not None and found != digest:
            raise Corrupt(f"{self._where} answers with {found} when asked for {digest}", digest=str(digest))
        return Descriptor(media_type, found, int(size))

    def _get(self, name: str, digest: Digest | None, data: bool) -> Descriptor | None:
        reply = self._fetch_manifest("GET", name)
        if reply is None:
            return None
        if not reply.body.lstrip().startswith(b"{"):
            if is_html(reply.headers, reply.body):
                raise Transient(Unavailable(f"{self._repository.host} answered with HTML, not a registry"))
            raise wrong(f"{self._where} answered with something that is no manifest", name=name)
        actual = Digest.of(reply.body)
        if digest is not None and actual != digest:
            raise wrong(f"{self._where} answers with {actual} when asked for {digest}", digest=str(digest))
        lie = said_otherwise(reply.headers, actual, self._repository.host)
        if lie is not None:
            raise Transient(lie, cause="corrupt")
        media_type = _media_type(reply) or _own_media_type(reply.body)
        return Descriptor(media_type, actual, len(reply.body), data=reply.body if data else None)

    def _put_manifest(self, name: str, what: Descriptor, data: bytes, condition: dict[str, str]) -> Reply:
        if Digest.of(data) != what.digest or len(data) != what.size:
            raise Corrupt(f"the manifest to send is not {what.digest}", digest=str(what.digest))
        if len(data) > media.MAX_MANIFEST:
            raise Unsupported(
                f"the manifest has {len(data)} bytes; registries take at most {media.MAX_MANIFEST}",
                hint='pack small files (pack = "auto"), or push fewer of them',
            )
        request = self._repository.request(
            "PUT",
            f"manifests/{quote(name, safe=':')}",
            "manifest",
            headers={"Content-Type": what.media_type, **condition},
            body=data,
            accept=(200, 201, 202, 204, 400, 404, 412),
            key=name,
        )
        reply = self._client.retry(name, lambda: self._sent_manifest(request))
        if reply.status == 412:
            self._check_moved(name, what)
        elif (lie := said_otherwise(reply.headers, what.digest, self._repository.host)) is not None:
            raise lie
        return reply

    def _sent_manifest(self, request: Request) -> Reply:
        reply = self._repository.fetch(request, _MAX_COMPLAINTS)
        if reply.status not in (400, 404):
            return reply
        error = self._manifest_refused(request, reply)
        if isinstance(error, NotFound) and "blobs" in error.facts:
            # distribution 2.8 rewrites a blob's link whenever somebody uploads or mounts it again, and for that moment
            # does not know it: two clients that share blobs meet this often.
            raise Transient(error, cause="unknown")
        raise error

    def _check_moved(self, name: str, what: Descriptor) -> None:
        # When the answer to our first try was lost, the second finds the tag "moved": to what we put there.
        standing = self.resolve(name)
        if standing is None or standing.digest != what.digest:
            raise TagMoved(
                f"{self._where}:{name} is not what it was",
                hint="pull, then push again",
                tag=name,
                found=None if standing is None else str(standing.digest),
            )

    def _manifest_refused(self, request: Request, reply: Reply) -> BundleError:
        said = complaints(reply.body)
        missing = [one for one in said if one.code in ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN")]
        if missing:
            blobs = sorted({digest for one in missing for digest in one.digests})
            return NotFound(
                f"{self._where} lacks {len(missing)} blobs of the manifest",
                hint="run the same command again: they are sent anew",
                blobs=blobs,
                host=self._repository.host,
            )
        error = self._repository.error(request, reply)
        if "too large" in error.message:
            # distribution 2.8 says 400 where the specification says 413 (facts: OCI §2.6).
            return Unsupported(error.message, hint="pack small files", **error.facts)
        return error

    # --- the rest

    def _check_absence(self, reply: Reply) -> None:
        """Only a registry can say that something is not there.

        :raises Unavailable: somebody else answered: a web server, a proxy, a login page.
        """
        if not _speaks(reply):
            raise self._not_a_registry("HTML" if is_html(reply.headers, reply.body) else "something", reply)

    def _not_a_registry(self, what: str, reply: Reply) -> Unavailable:
        return Unavailable(
            f"{self._repository.host} answered with {what} that comes from no registry (status {reply.status})",
            hint="check the host name and port, and any proxy in between",
            host=self._repository.host,
            status=reply.status,
        )

    def _delete(self, name: str, *, quietly: bool) -> bool:
        """Whether the registry does that. :param quietly: who may not do it does without, too."""
        request = self._deletion(name, (*_DONE, 400, *((403,) if quietly else ()), 404, 405, 501))
        try:
            return self._repository.fetch(request, _MAX_COMPLAINTS).status in _DONE
        except Unauthorized:
            if not quietly:
                raise
            return False

    def _deletion(self, name: str, accept: Iterable[int]) -> Request:
        path = f"manifests/{quote(name, safe=':')}"
        return self._repository.request("DELETE", path, "manifest", accept=accept, actions="delete")


def _kind(what: Descriptor) -> str:
    return "manifest" if what.media_type in media.MANIFEST_TYPES else "blob"


def _is_intent(tag: str) -> bool:
    # Each holds an identifier of its own, so no other tag shares its manifest.
    return is_service_tag(tag) and tag.startswith("_i.")


def _media_type(reply: Reply) -> str | None:
    said = reply.headers.get("content-type", "").partition(";")[0].strip()
    return said if said in media.MANIFEST_TYPES else None


def _own_media_type(body: bytes) -> str:
    value = canonical.loads(body, "the manifest", limit=media.MAX_MANIFEST)
    said = value.get("mediaType")
    if isinstance(said, str) and said:
        return said
    return media.OCI_INDEX if "manifests" in value else media.OCI_MANIFEST


def _speaks(reply: Reply) -> bool:
    """Whether an answer comes from a registry: by its API version header, or an error list (distribution-spec,
    "Error Codes").
    """
    return "docker-distribution-api-version" in reply.headers or bool(complaints(reply.body))


def _tag_names(reply: Reply, where: str) -> list[str]:
    value = canonical.loads(reply.body, f"the list of tags of {where}", limit=MAX_PAGE)
    names = value.get("tags")
    if "tags" not in value or not isinstance(names, list | None):
        raise Corrupt(f"{where} answers with a list of tags that is none")
    return [name for name in names or () if isinstance(name, str) and _is_tag(name)]


def _is_tag(name: str) -> bool:
    try:
        check_tag(name)
    except UsageError:
        # Nobody could ask for it, and its letters may be meant for the terminal.
        return False
    return True
