from __future__ import annotations

import threading

from modelops_bundle.net.throttle import BLOCK, Pieces, Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    throttle = Throttle(None, clock.sleep, clock)
    throttle.take(10**12)
    assert clock.slept == []
    assert throttle.block == BLOCK


def test_the_rate_is_kept_over_time() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock.sleep, clock)
    for _ in range(100):
        throttle.take(100)
    # 10,000 bytes at 1,000 per second, of which a quarter of a second was saved up.
    assert 9.7 < clock.now - 100.0 <= 10.0


def test_idle_time_is_not_saved_up_for_long() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock.sleep, clock)
    throttle.take(100)
    clock.now += 3600
    before = clock.now
    throttle.take(2000)
    assert clock.now - before >= 1.7


def test_all_workers_share_one_rate() -> None:
    waits: list[float] = []
    throttle = Throttle(1000, waits.append, lambda: 100.0)
    threads = [threading.Thread(target=throttle.take, args=(500,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(round(wait, 2) for wait in waits) == [0.25, 0.75, 1.25, 1.75]


def test_blocks_shrink_with_the_rate() -> None:
    assert Throttle(100_000, lambda _: None).block == 25_000
    assert Throttle(100, lambda _: None).block == 4096
    assert Throttle(10**9, lambda _: None).block == BLOCK


def test_pieces_grow_on_a_fast_link_and_shrink_on_a_slow_one() -> None:
    pieces = Pieces()
    for _ in range(10):
        pieces.took(0.001)
    assert pieces.size == BLOCK
    pieces.took(0.2)
    assert pieces.size == BLOCK
    for _ in range(20):
        pieces.took(2.0)
    assert pieces.size == 16 * 1024


def test_pieces_respect_the_rates_block() -> None:
    pieces = Pieces(4096)
    pieces.took(0.001)
    pieces.took(9.0)
    assert pieces.size == 4096
