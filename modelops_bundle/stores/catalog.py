"""The repositories of a registry (distribution's `_catalog`; optional, and no part of the OCI specification)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from modelops_bundle.errors import BundleError, Corrupt, Unauthorized, Unsupported
from modelops_bundle.model import canonical
from modelops_bundle.model.reference import is_repository
from modelops_bundle.net import problems
from modelops_bundle.net.exchange import Reply, Request
from modelops_bundle.stores.listing import MAX_PAGE, PAGE, names, pages
from modelops_bundle.stores.repository import below

if TYPE_CHECKING:
    from modelops_bundle.net.client import Client

SCOPE = "registry:catalog:*"
"""What a login must allow (distribution project, "Docker Registry Token Authentication")."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A registry that shows its repositories in another way. `way` may hold `{org}`."""

    hosts: tuple[str, ...]
    way: str


ELSEWHERE = (
    Elsewhere(("docker.io", "index.docker.io", "registry-1.docker.io"), "https://hub.docker.com/u/{org}"),
    Elsewhere(("ghcr.io",), "https://github.com/{org}?tab=packages"),
    Elsewhere(("quay.io",), "https://quay.io/organization/{org}"),
    Elsewhere(("*.pkg.dev", "gcr.io", "*.gcr.io"), "gcloud artifacts docker images list"),
    Elsewhere(("public.ecr.aws",), "https://gallery.ecr.aws"),
    Elsewhere(("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn"), "aws ecr describe-repositories"),
    Elsewhere(("registry.gitlab.com",), "https://gitlab.com/{org}"),
)
"""Where no catalog is offered to users, from the documentation of each."""


def repositories(client: Client, host: str, prefix: str = "") -> list[str]:
    """The names of the repositories at and below the path `prefix`, sorted; all of them for "".

    :param host: the registry as references spell it, `HOST[:PORT]`.
    :raises Unsupported: the registry offers no catalog. :raises Unauthorized: not to this login.
    :raises Corrupt: an answer that is no catalog, or one without an end.
    """
    origin, what = client.options.registry(host), f"the repositories of {host}"

    def one(url: str) -> Reply:
        request = Request("GET", url, "catalog", accept=frozenset([200, 404, 405, 501]), scope=SCOPE)
        reply = client.fetch(request, MAX_PAGE)
        if reply.status != 200 or problems.is_html(reply.headers, reply.body):
            raise Unsupported(f"{host} offers no list of its repositories", hint=_hint(host, prefix), host=host)
        return reply

    try:
        replies = pages(one, f"{origin}/v2/_catalog?n={PAGE}", lambda *urls: below(origin, *urls), host=host, what=what)
        found = names(replies, lambda reply: _names(reply, what), host=host, what=what)
    except Unauthorized as error:
        raise _refused(error, host, prefix) from error
    return sorted(name for name in found if not prefix or name == prefix or name.startswith(f"{prefix}/"))


def _names(reply: Reply, what: str) -> Iterable[str]:
    value = canonical.loads(reply.body, what, limit=MAX_PAGE)
    listed = value.get("repositories")
    if "repositories" not in value or not isinstance(listed, list | None):
        raise Corrupt(f"{what} came as something else")
    # What is no repository's name nobody could ask for, and its letters may be meant for the terminal.
    return [name for name in listed or () if isinstance(name, str) and is_repository(name)]


def _way(host: str, prefix: str) -> str | None:
    name = host.partition(":")[0]
    known = next((one for one in ELSEWHERE if any(fnmatchcase(name, pattern) for pattern in one.hosts)), None)
    return known.way.format(org=prefix.partition("/")[0] or "ORGANISATION") if known is not None else None


def _hint(host: str, prefix: str) -> str:
    way = _way(host, prefix)
    return (
        f"look there: {way}" if way else "look at its web page, or ask whoever runs it; bundle tags REPO needs no list"
    )


def _refused(error: Unauthorized, host: str, prefix: str) -> BundleError:
    if _way(host, prefix) is not None:
        # It says no to everybody.
        return Unsupported(f"{host} offers no list of its repositories", hint=_hint(host, prefix), host=host)
    return Unauthorized(
        f"{host} does not show its repositories to this login: {error.message}",
        hint="log in as somebody who may list them (scope registry:catalog:*); many registries offer that to nobody",
        **error.facts,
    )
