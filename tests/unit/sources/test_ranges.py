"""Answers to requests for parts: which are believed, and what the others mean (facts: fetch §3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelops_bundle.errors import BundleError, Corrupt, NotFound, SourceChanged, Unavailable
from modelops_bundle.model.remote import Heard, Place, RemoteFile
from modelops_bundle.sources.ranges import HttpRanges

PLACE = Place("http", "https://hub.example/a")
CDN = "https://cdn.example/a?sig=1"
DATA = bytes(range(100))


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    url: str = CDN

    def chunks(self) -> Iterator[bytes]:
        for at in range(0, len(self.body), 7):
            yield self.body[at : at + 7]


class Scripted:
    """A context that gives `answers` in turn; `asked` are the URLs and headers."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str]]] = []

    @contextmanager
    def stream(self, url: str, *, headers: Mapping[str, str]) -> Iterator[Answer]:
        self.asked.append((url, dict(headers)))
        yield self.answers.pop(0)


def part(start: int, stop: int, total: int | str = 100, tag: str = '"t"', url: str = CDN) -> Answer:
    headers = {"content-range": f"bytes {start}-{stop - 1}/{total}", "etag": tag}
    return Answer(206, headers, DATA[start:stop], url)


def source(*answers: Answer, size: int | None = 100, path: str = "a.bin") -> tuple[HttpRanges, Scripted]:
    ctx: Any = Scripted(*answers)
    file = RemoteFile(path, size, {}, None, (PLACE,))
    return HttpRanges(file, PLACE, ctx, lambda heard: NotFound(f"refused with {heard.status}")), ctx


def read(ranges: HttpRanges, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(data for _, data in ranges.read(start, stop))


def test_the_redirected_address_is_kept_and_tags_go_to_their_host_alone() -> None:
    ranges, ctx = source(part(0, 10), part(10, 20), part(20, 30, url=PLACE.url))
    assert (read(ranges, 0, 10), read(ranges, 10, 20)) == (DATA[:10], DATA[10:20])
    ranges.refresh("soon over")
    assert read(ranges, 20, 30) == DATA[20:30]
    assert ctx.asked == [
        (PLACE.url, {"Range": "bytes=0-9"}),
        (CDN, {"Range": "bytes=10-19", "If-Range": '"t"'}),
        (PLACE.url, {"Range": "bytes=20-29"}),
    ]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_signed_address_that_is_refused_is_asked_for_anew(status: int) -> None:
    ranges, ctx = source(part(0, 10), Answer(status), part(10, 20, url="https://cdn.example/a?sig=2"))
    assert read(ranges, 0, 10) + read(ranges, 10, 20) == DATA[:20]
    assert [url for url, _ in ctx.asked] == [PLACE.url, CDN, PLACE.url]


def test_addresses_that_are_refused_again_and_again_end() -> None:
    ranges, ctx = source(part(0, 10), *[Answer(403, url=f"https://cdn.example/a?sig={n}") for n in range(5)])
    read(ranges, 0, 10)
    # As another thread would, that got a new one while this one was asking.
    ranges._forget = lambda url: setattr(ranges, "_redirected", f"{url}0")  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="answered 403"):
        read(ranges, 10, 20)
    assert len(ctx.asked) == 4


def test_what_is_not_read_to_its_end_is_let_go() -> None:
    closed: list[str] = []

    class Watched(Scripted):
        @contextmanager
        def stream(self, url: str, *, headers: Mapping[str, str]) -> Iterator[Answer]:
            try:
                with super().stream(url, headers=headers) as answer:
                    yield answer
            finally:
                closed.append(url)

    ctx: Any = Watched(part(0, 50))
    reading = HttpRanges(RemoteFile("a", 100, {}, None, (PLACE,)), PLACE, ctx, lambda heard: NotFound("")).read(0, 50)
    assert next(reading) == (0, DATA[:7])
    assert closed == []
    reading.close()  # type: ignore[attr-defined]
    assert closed == [PLACE.url]


def test_what_the_place_refuses_is_explained() -> None:
    ranges, _ = source(Answer(404, url=PLACE.url))
    with pytest.raises(NotFound, match="refused with 404"):
        ranges.probe()


def test_a_fresh_address_that_is_refused_may_be_a_clock() -> None:
    ranges, _ = source(Answer(403))
    with pytest.raises(
        Unavailable, match=r"cdn\.example, where hub\.example sends its clients, answered 403"
    ) as raised:
        ranges.probe()
    assert raised.value.facts["transient"] is True
    assert "clock" in str(raised.value.hint) and "sig=" not in str(raised.value.to_json())


CHANGED: dict[str, Answer] = {
    "another size": part(10, 20, 99),
    "another tag": part(10, 20, tag='"u"'),
    "all of another": Answer(200, {"etag": '"u"', "content-length": "100"}, DATA),
    "all, of another size": Answer(200, {"content-length": "90"}, DATA[:90]),
    "shorter by now": Answer(416, {"content-range": "bytes */5"}),
}


@pytest.mark.parametrize("case", CHANGED)
def test_another_version_is_never_mixed_in(case: str) -> None:
    ranges, _ = source(part(0, 10), CHANGED[case])
    read(ranges, 0, 10)
    with pytest.raises(SourceChanged):
        read(ranges, 10, 20)


SENSELESS: dict[str, Answer] = {
    "other bytes": part(0, 10),
    "no range said": Answer(206, {}, DATA[10:20]),
    "a bad range": Answer(206, {"content-range": "bytes x-y/z"}, DATA[10:20]),
    "a refusal of what it has": Answer(416, {"content-range": "bytes */100"}),
    "a refusal that says nothing": Answer(416),
    "a login page": Answer(200, {"content-type": "text/html; charset=utf-8"}, b"<html>"),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_what_makes_no_sense_is_refused(case: str) -> None:
    ranges, _ = source(SENSELESS[case])
    with pytest.raises(Corrupt):
        read(ranges, 10, 20)


def test_pages_may_be_fetched_when_they_are_meant() -> None:
    ranges, _ = source(Answer(200, {"content-type": "text/html"}, b"<html>"), size=None, path="index.html")
    assert read(ranges) == b"<html>"


def test_without_ranges_what_was_not_asked_for_is_dropped() -> None:
    ranges, _ = source(*[Answer(200, {"content-length": "100"}, DATA)] * 2)
    assert list(ranges.read(50, 60)) == [(50, DATA[50:56]), (56, DATA[56:60])]
    assert ranges.caps.ranges is False
    assert read(ranges) == DATA


def test_weak_tags_prove_nothing() -> None:
    ranges, ctx = source(part(0, 10, tag='W/"a"'), part(10, 20, tag='W/"b"'))
    assert read(ranges, 0, 10) + read(ranges, 10, 20) == DATA[:20]
    assert "If-Range" not in ctx.asked[1][1]


def test_the_end_may_be_known_to_the_server_alone() -> None:
    ranges, _ = source(part(90, 100), Answer(416, {"content-range": "bytes */100"}), size=None)
    assert read(ranges, 90) == DATA[90:]
    assert read(ranges, 100, 110) == b""


@pytest.mark.parametrize("stop", [20, None])
def test_a_body_that_is_too_short_is_said(stop: int | None) -> None:
    answer = part(10, 20)
    answer.body = answer.body[:5]
    ranges, _ = source(answer)
    with pytest.raises(Unavailable, match="bytes early") as raised:
        read(ranges, 10, stop)
    assert raised.value.facts["transient"] is True


def test_a_body_that_is_too_long_is_cut() -> None:
    answer = part(10, 20)
    answer.body += b"more and more"
    assert read(source(answer)[0], 10, 20) == DATA[10:20]


@pytest.mark.parametrize(
    ("answer", "size", "ranged"),
    [
        (part(0, 1), 100, True),
        (part(0, 1, "*"), 100, True),
        (Answer(200, {"content-length": "100"}, DATA), 100, False),
        (Answer(416, {"content-range": "bytes */0"}), 0, False),
    ],
)
def test_probes(answer: Answer, size: int, ranged: bool) -> None:
    found = source(answer, size=size)[0].probe()
    assert (found.size, found.ranges, found.host) == (size, ranged, "cdn.example")


def test_refusals_without_a_body_are_explained_too() -> None:
    class Broken(Answer):
        def chunks(self) -> Iterator[bytes]:
            raise Unavailable("broken")

    seen: list[Heard] = []

    def explain(heard: Heard) -> BundleError:
        seen.append(heard)
        return NotFound("no")

    ctx: Any = Scripted(Broken(404, url=PLACE.url))
    with pytest.raises(NotFound):
        HttpRanges(RemoteFile("a", 1, {}, None, (PLACE,)), PLACE, ctx, explain).probe()
    assert seen[0].body == b""
