from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.net.exchange import Reply
from modelops_bundle.stores import listing

FIRST = "http://h/v2/list"


def below(asked: str, target: str) -> str | None:
    return f"http://h{target}" if target.startswith("/") else None


def reply(names: list[str], following: str | None = None) -> Reply:
    headers = {} if following is None else {"link": f'<{following}>; rel="next"'}
    return Reply(200, headers, json.dumps(names).encode(), "")


def read(pages: Callable[[str], Reply | None]) -> set[str]:
    replies = listing.pages(pages, FIRST, below, host="h", what="the list")
    return listing.names(replies, lambda each: json.loads(each.body), host="h", what="the list")


def test_pages_are_followed_to_the_end() -> None:
    pages = {FIRST: reply(["a"], "/2"), "http://h/2": reply([], "/3"), "http://h/3": reply(["b"])}
    assert read(pages.__getitem__) == {"a", "b"}


def test_none_ends_the_list() -> None:
    assert read(lambda url: None) == set()


def test_a_page_that_comes_again_ends_the_list() -> None:
    asked: list[str] = []

    def page(url: str) -> Reply:
        asked.append(url)
        return reply([f"{len(asked)}"], "/v2/list")

    assert read(page) == {"1"}
    assert asked == [FIRST]


def test_names_that_come_again_under_new_urls_end_the_list() -> None:
    numbers = iter(range(1000))
    assert read(lambda url: reply(["a", "b"], f"/{next(numbers)}")) == {"a", "b"}
    assert next(numbers) == 2


def _counted(make: Callable[[int], Reply]) -> tuple[Callable[[str], Reply], Iterator[int]]:
    numbers = iter(range(10**9))
    return (lambda url: make(next(numbers))), numbers


def test_empty_pages_without_end_end_in_an_error() -> None:
    page, numbers = _counted(lambda number: reply([], f"/{number}"))
    with pytest.raises(Corrupt, match="without an end"):
        read(page)
    assert next(numbers) < 20


def test_new_names_without_end_end_in_an_error() -> None:
    page, numbers = _counted(lambda number: reply([f"t{number}"], f"/{number}"))
    with pytest.raises(Corrupt, match="without an end"):
        read(page)
    assert next(numbers) == listing.MAX_PAGES + 1


def test_bytes_without_end_end_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_BYTES", 10_000)
    page, numbers = _counted(lambda number: reply([f"{number}" * 1000], f"/{number}"))
    with pytest.raises(Corrupt, match="without an end"):
        read(page)
    assert next(numbers) < 11


def test_another_server_is_not_asked() -> None:
    with pytest.raises(Unsupported, match="another server"):
        read(lambda url: reply(["a"], "http://evil/2"))


@pytest.mark.parametrize("link", ['</2>; rel="prev"', "</2>", "nonsense", ""])
def test_only_a_link_to_the_next_page_counts(link: str) -> None:
    assert read({FIRST: Reply(200, {"link": link}, b'["a"]', "")}.__getitem__) == {"a"}
