"""The limits on connections that have not said yet what they are for."""

from __future__ import annotations

from mograder.sandbox.nodes.guest_limits import GuestLimits

NODES = {"10.0.0.1"}


class Clock:
    """A clock that stands until the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_address_has_64_at_a_time() -> None:
    limits = GuestLimits(NODES, Clock())
    entered = [limits.enter("10.0.0.1") for _ in range(65)]
    assert entered[63] is not None
    assert entered[64] is None
    entered[63]()
    assert limits.enter("10.0.0.1") is not None


def test_strangers_come_at_a_limited_rate_and_do_not_keep_nodes_out() -> None:
    clock = Clock()
    limits = GuestLimits(NODES, clock)
    addresses = [f"10.1.{each % 250}.{each}" for each in range(1000)]
    assert sum(limits.enter(each) is not None for each in addresses) == 128
    assert limits.enter("10.0.0.1") is not None
    clock.now += 1.0
    assert sum(limits.enter(each) is not None for each in addresses) == 32


def test_strangers_have_256_at_a_time() -> None:
    clock = Clock()
    limits = GuestLimits(NODES, clock)
    admitted = 0
    for each in range(1000):
        clock.now += 1.0
        admitted += limits.enter(f"10.1.{each % 250}.{each}") is not None
    assert admitted == 256
    assert limits.enter("10.0.0.1") is not None


def test_a_node_opens_connections_at_a_limited_rate_without_harm_to_others() -> None:
    clock = Clock()
    limits = GuestLimits({"10.0.0.1", "10.0.0.2"}, clock)
    assert _opened(limits, "10.0.0.1", 1000) == 512
    assert _opened(limits, "10.0.0.2", 1) == 1
    assert _opened(limits, "10.0.0.3", 1) == 1
    clock.now += 1.0
    assert _opened(limits, "10.0.0.1", 1000) == 128


def _opened(limits: GuestLimits, address: str, times: int) -> int:
    """How many of some connections are let in, each of which ends before the next."""
    opened = 0
    for _ in range(times):
        leave = limits.enter(address)
        if leave is not None:
            opened += 1
            leave()
    return opened
