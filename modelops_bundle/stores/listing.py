"""Lists that registries send in pages (RFC 8288, `rel="next"`), read to their end and never for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.net.exchange import Reply

PAGE = 1000
"""Entries to ask for at a time."""
MAX_PAGE = 32 * 1024 * 1024
"""Bytes of one page: distribution 2.8 sends a list of any length as one."""
MAX_BYTES = 128 * 1024 * 1024
MAX_PAGES = 10_000
_BARREN = 16
"""Pages in a row that bring nothing: a filter may empty some of them."""

Below = Callable[[str, str], str | None]
"""The URL that a server, asked at the first, means by the second; None when it is of another origin."""


def pages(
    ask: Callable[[str], Reply | None], first: str, below: Below, *, host: str, what: str, most: int = MAX_PAGES
) -> Iterator[Reply]:
    """Every page from the URL `first` on. A page that comes again ends the list.

    :param ask: gets one page; None ends the list.
    :param what: names the list in messages.
    :raises Corrupt: there is no end to it. :raises Unsupported: it goes on at another server.
    """
    seen: set[str] = set()
    url: str | None = first
    size = 0
    while url is not None and url not in seen:
        seen.add(url)
        reply = ask(url)
        if reply is None:
            return
        size += len(reply.body)
        if len(seen) > most or size > MAX_BYTES:
            raise endless(host, what)
        yield reply
        url = _next(url, reply, below, host, what)


def names(replies: Iterable[Reply], read: Callable[[Reply], Iterable[str]], *, host: str, what: str) -> set[str]:
    """The names on all pages. A page that only repeats what was there before ends the list.

    :raises Corrupt: pages without end that bring nothing.
    """
    found: set[str] = set()
    barren = 0
    for reply in replies:
        page = set(read(reply))
        if page and page <= found:
            break
        barren = 0 if page else barren + 1
        if barren > _BARREN:
            raise endless(host, what)
        found |= page
    return found


def endless(host: str, what: str) -> Corrupt:
    """The error of a list that does not end."""
    return Corrupt(f"{host} sends {what} without an end", host=host)


def _next(asked: str, reply: Reply, below: Below, host: str, what: str) -> str | None:
    for link in reply.headers.get("link", "").split(","):
        target, _, parameters = link.strip().partition(">")
        if target.startswith("<") and "next" in parameters.replace('"', " ").replace("=", " ").split():
            url = below(asked, target[1:])
            if url is None:
                raise Unsupported(f"{host} continues {what} on another server", host=host)
            return url
    return None
