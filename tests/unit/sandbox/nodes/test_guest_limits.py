"""The limits on connections that have not said yet what they are for."""

from __future__ import annotations

from mograder.sandbox.nodes.guest_limits import Guest, GuestLimits

NODES = {"10.0.0.1"}


class Clock:
    """A clock that stands until the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Door:
    """Lets connections in; ``ended`` are those that were ended for newer ones."""

    def __init__(self, *nodes: str) -> None:
        self.clock = Clock()
        self.limits = GuestLimits(nodes or NODES, self.clock)
        self.ended: list[Guest] = []

    def enter(self, address: str, *, speaks: bool = False) -> Guest | None:
        """A connection that was let in, and to a handshake if it speaks."""
        guest = self.limits.enter(address)
        if guest is not None:
            guest.end = lambda: self.ended.append(guest)
            if speaks and not guest.speaks():
                guest.leave()
                return None
        return guest

    def strangers(self, number: int, *, speak: bool = False) -> list[Guest]:
        """Those of some connections of 250 addresses that are let in."""
        entered = (self.enter(f"10.1.0.{each % 250}", speaks=speak) for each in range(number))
        return [guest for guest in entered if guest is not None]

    def opened(self, address: str, times: int) -> int:
        """How many of some connections are let in, each of which ends before the next."""
        opened = 0
        for _ in range(times):
            guest = self.enter(address)
            if guest is not None:
                opened += 1
                guest.leave()
        return opened


def test_one_address_has_64_at_a_time() -> None:
    door = Door()
    entered = [door.enter("10.0.0.1", speaks=True) for _ in range(65)]
    assert entered[63] is not None
    assert entered[64] is None
    entered[63].leave()
    entered[63].leave()
    assert door.enter("10.0.0.1", speaks=True) is not None
    assert door.enter("10.0.0.1") is None
    assert not door.ended


def test_the_oldest_silent_one_of_an_address_gives_its_place_to_a_newer_one() -> None:
    door = Door()
    entered = [door.enter("10.0.0.1") for _ in range(66)]
    assert entered[65] is not None
    assert door.ended == entered[:2]


def test_strangers_shake_hands_at_a_limited_rate_and_do_not_keep_nodes_out() -> None:
    door = Door()
    assert len(door.strangers(240, speak=True)) == 128
    assert door.enter("10.0.0.1", speaks=True) is not None
    door.clock.now += 1.0
    assert len(door.strangers(240, speak=True)) == 32


def test_silent_strangers_do_not_keep_a_node_out_whose_address_is_not_known_yet() -> None:
    door = Door()
    silent = door.strangers(256)
    assert len(silent) == 256
    assert door.enter("10.2.0.1", speaks=True) is not None
    assert door.ended == silent[:1]
    for _ in range(60):
        door.clock.now += 1.0
        door.strangers(200)
        assert door.enter("10.2.0.2", speaks=True) is not None


def test_strangers_that_speak_have_256_at_a_time() -> None:
    door = Door()
    admitted = 0
    for each in range(1000):
        door.clock.now += 1.0
        admitted += door.enter(f"10.1.{each % 250}.{each}", speaks=True) is not None
    assert admitted == 256
    assert door.enter("10.0.0.1") is not None


def test_a_stranger_has_less_time_than_a_node() -> None:
    door = Door()
    node, stranger = door.enter("10.0.0.1"), door.enter("10.1.0.1")
    assert node is not None
    assert stranger is not None
    assert stranger.seconds < node.seconds


def test_a_node_opens_connections_at_a_limited_rate_without_harm_to_others() -> None:
    door = Door("10.0.0.1", "10.0.0.2")
    assert door.opened("10.0.0.1", 1000) == 512
    assert door.opened("10.0.0.2", 1) == 1
    assert door.opened("10.0.0.3", 1) == 1
    door.clock.now += 1.0
    assert door.opened("10.0.0.1", 1000) == 128
