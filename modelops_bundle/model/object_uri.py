"""Addresses of objects in S3, Google Cloud Storage and Azure Blob Storage (facts: fetch §1.1).

s3://BUCKET/KEY[?versionId=&region=&endpoint=&anon=1&requester_pays=1]
gs://BUCKET/KEY[?generation=]                 also gcs://
az://ACCOUNT/CONTAINER/KEY                    also abfs[s]://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from modelops_bundle.model.source_text import decoded, encoded, parameters, query_of, refuse, single, split

Service = Literal["s3", "gs", "az"]

SPELLINGS: dict[str, Service] = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az"}
_OPTIONS: dict[Service, tuple[str, ...]] = {
    "s3": ("anon", "endpoint", "region", "requester_pays", "versionId"),
    "gs": ("generation",),
    "az": (),
}
_SWITCHES = ("anon", "requester_pays")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_CONTAINER = re.compile(r"\$root|\$web|[a-z0-9](?:-?[a-z0-9]){2,62}")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_BLOB_HOST = re.compile(r"([a-z0-9]{3,24})\.blob\.core\.windows\.net")
_ABFS = re.compile(r"([^@/]+)@([a-z0-9]{3,24})\.dfs\.core\.windows\.net/(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ObjectUri:
    """One object, or all below a prefix that ends in `/`.

    :param container: the bucket, or Azure's container.
    :param account: Azure's storage account, empty elsewhere.
    :param options: names and values, sorted; never a secret.
    """

    service: Service
    container: str
    key: str
    account: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @property
    def scheme(self) -> str:
        """That of the canonical address."""
        return self.service

    def __str__(self) -> str:
        place = f"{self.account}/{self.container}" if self.account else self.container
        return f"{self.service}://{place}/{encoded(self.key)}{query_of(self.options)}"


def parse(service: Service, rest: str, whole: str) -> ObjectUri:
    """What follows `SCHEME://`.

    :raises UsageError: no bucket or key, or an option that the service does not have.
    """
    place, query, fragment = split(rest)
    if fragment:
        refuse(whole, "an object's address has no part after '#'; write %23 for one in a key")
    given = parameters(query, _OPTIONS[service], whole)
    options = [(name, _option(name, value, whole)) for name in sorted(given) if (value := single(given, name, whole))]
    account = ""
    if service == "az":
        account, _, place = place.partition("/")
    container, _, key = place.partition("/")
    return _checked(ObjectUri(service, container, decoded(key, whole), account, tuple(options)), whole)


def parse_abfs(rest: str, whole: str) -> ObjectUri:
    """What follows `abfs://` or `abfss://`, as Hadoop writes Azure's addresses.

    :raises UsageError: it is not that form.
    """
    place, query, _ = split(rest)
    found = _ABFS.fullmatch(place)
    if found is None or query:
        refuse(whole, "write abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY, or az://ACCOUNT/CONTAINER/KEY")
    return _checked(ObjectUri("az", found[1], decoded(found[3], whole), found[2]), whole)


def of_url(host: str, path: str, query: str, whole: str) -> ObjectUri | None:
    """The object at an `https` address of Azure; None for other hosts, and for signed addresses: those are plain URLs."""
    found = _BLOB_HOST.fullmatch(host)
    container, _, key = path.removeprefix("/").partition("/")
    if found is None or query or not key:
        return None
    return _checked(ObjectUri("az", container, decoded(key, whole), found[1]), whole)


def _option(name: str, value: str, whole: str) -> str:
    if name in _SWITCHES and value not in ("0", "1"):
        refuse(whole, f"{name} is 0 or 1")
    if name == "endpoint" and (urlsplit(value).scheme not in ("http", "https") or "@" in value):
        refuse(whole, "endpoint is an http or https URL, without a user")
    return value


def _checked(uri: ObjectUri, whole: str) -> ObjectUri:
    azure = uri.service == "az"
    form = "az://ACCOUNT/CONTAINER/KEY" if azure else f"{uri.service}://BUCKET/KEY"
    if azure and not _ACCOUNT.fullmatch(uri.account):
        refuse(whole, f"write {form}; an account has 3 to 24 lower-case letters and digits")
    if not (_CONTAINER if azure else _BUCKET).fullmatch(uri.container):
        refuse(whole, f"write {form}; {uri.container[:80]!r} is no name of a {'container' if azure else 'bucket'}")
    if not uri.key or uri.key.startswith("/"):
        refuse(whole, f"write {form}; a prefix ends in '/'")
    if len(uri.key.encode("utf-8", "surrogatepass")) > 1024:
        refuse(whole, "a key has at most 1024 bytes")
    return uri
