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
