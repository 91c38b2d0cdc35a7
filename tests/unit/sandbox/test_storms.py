"""When sessions are held: from what was waited and switched, without a machine."""

from __future__ import annotations

import os

import pytest

from mograder.sandbox.storms import Storms

PROCESSORS = os.cpu_count() or 1
COMES, NOBODY = True, False


class Sky:
    """A machine on which so much is waited and switched as is said."""

    def __init__(self) -> None:
        self.waited, self.switches, self.now = 0.0, 0, 0.0
        self.storms = Storms(lambda: self.waited, lambda: self.switches)
        self.storms.look(self.now, comes=False)

    def passes(
        self, seconds: float, *, waited: float = 0.0, switches: int = 0, comes: bool = False
    ) -> bool:
        self.now += seconds
        self.waited += waited * seconds
        self.switches += int(switches * seconds) * PROCESSORS
        return self.storms.look(self.now, comes=comes)


@pytest.mark.parametrize(
    ("waited", "switches", "comes", "held"),
    [
        (0.05, 5_000, NOBODY, False),
        (0.2, 0, NOBODY, True),
        (0.0, 20_000, NOBODY, True),
        (0.07, 0, NOBODY, False),
        (0.07, 0, COMES, True),
        (0.0, 10_000, NOBODY, False),
        (0.0, 10_000, COMES, True),
    ],
)
def test_a_storm_is_much_waiting_or_switching(
    waited: float, switches: int, comes: bool, held: bool
) -> None:
    assert Sky().passes(0.1, waited=waited, switches=switches, comes=comes) == held


def test_what_was_before_the_first_look_is_no_storm() -> None:
    storms = Storms(lambda: 100.0, lambda: 10**9)
    assert not storms.look(1.0, comes=True)


def test_a_storm_is_over_after_a_while_and_another_soon_after_is_held_for_longer() -> None:
    sky = Sky()
    lasted = [_lasts(sky) for _ in range(6)]
    assert lasted == [5, 10, 20, 40, 80, 80]
    assert not sky.passes(200)
    assert _lasts(sky) == 5, "long ago"


def test_who_comes_in_a_breeze_has_others_held_for_a_moment_only() -> None:
    sky = Sky()
    assert sky.passes(0.1, waited=0.07, comes=True)
    assert sky.passes(0.9)
    assert not sky.passes(0.2)


def test_two_looks_in_one_moment_count_once() -> None:
    sky = Sky()
    sky.passes(1)
    assert not sky.passes(0.001, waited=1.0, comes=True)
    assert not sky.passes(0.099)


def _lasts(sky: Sky) -> int:
    """Whole seconds for which a storm's sessions are held."""
    assert sky.passes(0.1, waited=0.5)
    seconds = 0
    while sky.passes(1):
        seconds += 1
    return seconds + 1
