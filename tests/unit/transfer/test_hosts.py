"""How many connections a host is worth, by an imagined clock."""

from __future__ import annotations

import pytest

from modelops_bundle.transfer.hosts import MOST, Host, Hosts

SLOW = 20e6


class World:
    """A host that gives `per` bytes a second to each connection and `most` to all together."""

    def __init__(self, per: float = SLOW, most: float = float("inf"), refuses_beyond: int = 1000) -> None:
        self.per, self.most, self.refuses_beyond = per, most, refuses_beyond
        self.now = 0.0
        self.host = Host(lambda: self.now)
        self.open = self.firsts = self.highest = 0
        self.enter()

    def enter(self) -> None:
        """The first connection of one more content."""
        self.host.enter()
        self.open += 1
        self.firsts += 1

    def spend(self, seconds: float, step: float = 0.005) -> int:
        """Let time pass; connections come and go as the host is said to be worth. How many there are then."""
        for _ in range(round(seconds / step)):
            self.now += step
            speed = min(self.per, self.most / self.open)
            for _ in range(self.open):
                self.host.received(round(speed * step), step)
            while self.host.admit():
                self.open += 1
                if self.open > self.refuses_beyond:
                    self.host.hindered()
                    self.leave()
            while self.open > self.firsts and self.host.crowded():
                self.leave()
            self.highest = max(self.highest, self.open)
        return self.open

    def leave(self) -> None:
        self.open -= 1
        self.host.leave()


def test_one_connection_to_begin_with() -> None:
    world = World()
    assert not world.host.admit()
    assert world.spend(0.4) == 1


def test_slow_ones_are_multiplied_up_to_the_cap() -> None:
    world = World()
    assert world.spend(0.55) == 4
    assert world.spend(0.25) == 8
    assert world.spend(0.25) == MOST
    assert world.spend(5) == MOST


def test_a_fast_one_stays_alone() -> None:
    assert World(per=120e6).spend(10) == 1


def test_a_slow_disk_is_no_slow_connection() -> None:
    world = World()
    for _ in range(100):
        world.now += 0.1
        world.host.received(1_000_000, 0.001)
    assert not world.host.admit()


@pytest.mark.parametrize(("most", "settled"), [(SLOW, 1), (SLOW * 4, 4), (SLOW * 7, 8)])
def test_growth_ends_where_it_brings_nothing(most: float, settled: int) -> None:
    assert World(most=most).spend(20) == settled


def test_a_host_that_refuses_keeps_what_it_took_and_is_left_alone_for_a_while() -> None:
    world = World(refuses_beyond=5)
    assert world.spend(5) == 5
    highest = world.highest
    assert world.spend(20) == 5
    assert world.highest == highest


def test_a_host_that_recovered_is_tried_again() -> None:
    world = World(refuses_beyond=2)
    assert world.spend(5) == 2
    world.refuses_beyond = 1000
    assert world.spend(40) == MOST


def test_the_second_refusal_counts_longer() -> None:
    world = World(refuses_beyond=1)
    world.spend(32)
    assert world.spend(20) == 1
    world.refuses_beyond = 1000
    assert world.spend(20) == 1
    assert world.spend(40) > 1


def test_one_connection_is_always_left() -> None:
    world = World()
    for _ in range(50):
        world.host.hindered()
    assert not world.host.admit()
    world.host.enter()
    assert world.host.crowded()


def test_without_ranges_there_is_nothing_to_share() -> None:
    world = World()
    world.spend(2)
    world.host.ranges = False
    assert world.host.crowded()
    assert not world.host.admit()


def test_what_was_found_is_remembered_for_the_next_content() -> None:
    world = World()
    world.spend(5)
    for _ in range(world.open):
        world.host.leave()
    world.now += 60
    world.host.enter()
    world.host.received(1000, 0.01)
    assert world.host.admit()


def test_contents_of_one_host_share_its_cap() -> None:
    world = World()
    for _ in range(3):
        world.enter()
    assert world.spend(10) == MOST


def test_several_contents_that_are_fast_together_need_no_more() -> None:
    world = World(per=30e6)
    for _ in range(3):
        world.enter()
    assert world.spend(10) == 4


def test_hosts_are_told_apart_by_name() -> None:
    hosts = Hosts()
    assert hosts.get("a") is hosts.get("a")
    assert hosts.get("a") is not hosts.get("b")
