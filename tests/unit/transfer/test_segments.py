"""Which bytes are here, which are to come, and who brings them."""

from __future__ import annotations

import pytest

from modelops_bundle.transfer.segments import SEGMENT, SMALLEST, Lease, Range, Segments, Spans

MIB = 1024 * 1024


def segments(size: int, *here: Range) -> Segments:
    return Segments(size, Spans(here))


def take(work: Segments, among: int = 1) -> Lease:
    lease = work.take(among)
    assert lease is not None
    return lease


# --- spans


@pytest.mark.parametrize(
    ("ranges", "merged"),
    [
        ([], []),
        ([(3, 3)], []),
        ([(0, 5), (5, 7)], [(0, 7)]),
        ([(5, 7), (0, 5)], [(0, 7)]),
        ([(0, 2), (4, 6)], [(0, 2), (4, 6)]),
        ([(4, 6), (0, 2), (1, 5)], [(0, 6)]),
        ([(0, 10), (2, 3)], [(0, 10)]),
        ([(2, 3), (5, 6), (8, 9), (0, 7)], [(0, 7), (8, 9)]),
    ],
)
def test_spans_are_as_few_as_possible(ranges: list[Range], merged: list[Range]) -> None:
    spans = Spans(ranges)
    assert list(spans) == merged
    assert spans.total == sum(stop - start for start, stop in merged)


@pytest.mark.parametrize(
    ("ranges", "prefix", "gaps"),
    [
        ([], 0, [(0, 10)]),
        ([(0, 4)], 4, [(4, 10)]),
        ([(1, 4)], 0, [(0, 1), (4, 10)]),
        ([(0, 2), (4, 10)], 2, [(2, 4)]),
        ([(0, 10)], 10, []),
    ],
)
def test_spans_know_their_beginning_and_their_gaps(ranges: list[Range], prefix: int, gaps: list[Range]) -> None:
    spans = Spans(ranges)
    assert spans.prefix == prefix
    assert list(spans.gaps(10)) == gaps


# --- leases


def test_alone_one_gets_all_that_is_missing_in_a_row() -> None:
    work = segments(100 * MIB)
    lease = take(work)
    assert (lease.at, lease.stop, lease.left) == (0, 100 * MIB, 100 * MIB)
    # What it could not bring is there to be taken again.
    work.end(lease)
    assert take(work).left == 100 * MIB


def test_what_is_here_is_not_brought() -> None:
    work = segments(10, (0, 2), (5, 8))
    assert [(lease.at, lease.stop) for lease in (take(work), take(work))] == [(2, 5), (8, 10)]
    assert work.take() is None


def test_what_comes_is_claimed_in_order_and_never_beyond_the_lease() -> None:
    work = segments(10)
    lease = take(work)
    assert work.claim(lease, 4) == (0, 4)
    assert work.claim(lease, 40) == (4, 10)
    work.end(lease)
    assert (work.take(), work.leased) == (None, 0)


def test_a_second_worker_leaves_the_first_a_segment_and_follows_it() -> None:
    work = segments(256 * MIB)
    first = take(work)
    work.claim(first, MIB)
    second, third = take(work, 2), take(work, 3)
    assert (first.stop, first.reach) == (MIB + SEGMENT, 256 * MIB)
    assert (second.at, second.stop) == (first.stop, first.stop + SEGMENT)
    assert third.at == second.stop


def test_segments_get_shorter_towards_the_end() -> None:
    work = segments(64 * MIB)
    sizes = []
    while (lease := work.take(4)) is not None:
        sizes.append(lease.left)
        work.claim(lease, lease.left)
    assert max(sizes) <= SEGMENT
    assert sizes == sorted(sizes, reverse=True)
    assert all(size >= SMALLEST for size in sizes[:-1])
    assert sum(sizes) == 64 * MIB


def test_the_last_long_one_is_halved_and_short_ones_are_left_alone() -> None:
    work = segments(SMALLEST)
    first = take(work)
    second = take(work, 2)
    assert (first.stop, second.at, second.stop) == (SMALLEST // 2, SMALLEST // 2, SMALLEST)
    assert work.take(3) is None


def test_a_connection_that_was_asked_for_more_goes_on_where_helpers_gave_up() -> None:
    work = segments(100 * MIB)
    first = take(work)
    helpers = [take(work, 4) for _ in range(3)]
    for lease in (helpers[1], helpers[2]):
        work.end(lease)
    assert first.stop == helpers[0].at
    work.end(helpers[0])
    assert first.stop == 100 * MIB


def test_a_bounded_request_is_not_stretched() -> None:
    work = segments(100 * MIB)
    first, second, third = take(work, 4), take(work, 4), take(work, 4)
    work.end(second)
    assert first.stop == first.reach == second.at
    work.end(third)
    assert take(work).at == second.at


def test_what_came_before_a_lease_ended_does_not_come_again() -> None:
    work = segments(100)
    lease = take(work)
    work.claim(lease, 30)
    work.end(lease)
    again = take(work)
    assert (again.at, again.stop) == (30, 100)
