"""What the counter counts of HTTP, however it comes."""

from __future__ import annotations

import pytest

from benchmarks.delta.counter import Exchange, Totals

REQUESTS = (
    b"HEAD /v2/a/blobs/x HTTP/1.1\r\nHost: h\r\n\r\n"
    b"GET /v2/a/blobs/x HTTP/1.1\r\nHost: h\r\n\r\n"
    b"PUT /v2/a/blobs/x HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nabcde"
    b"PATCH /v2/a/blobs/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\n"
    b"DELETE /v2/a/blobs/x HTTP/1.1\r\n\r\n"
    b"GET /v2/ HTTP/1.1\r\n\r\n"
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    b"HTTP/1.1 206 Partial Content\r\ncontent-length: 7\r\n\r\n1234567"
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
    b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: Chunked\r\n\r\n4\r\nwhat\r\n0\r\n\r\n"
    b"HTTP/1.1 204 No Content\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"
)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
def test_bodies_are_counted_and_nothing_else(step: int) -> None:
    totals = Totals()
    exchange = Exchange(totals)
    for wire, messages in ((REQUESTS, exchange.up), (RESPONSES, exchange.down)):
        for at in range(0, len(wire), step):
            messages.feed(memoryview(wire)[at : at + step])
    assert totals.requests == 6
    assert totals.sent == 5 + 13
    assert totals.received == 7 + 4 + len(b"to the end")
