"""The people whom platforms let in, while one thread loads courses and others tell of launches."""

from __future__ import annotations

import threading

from mograder.exchange.lti_roster import RosterNames
from mograder.store.external.external_tables import Course
from tests.support.clock import ManualClock

COURSE = "https://moodle.test", "client", "4"


def test_a_launch_is_not_lost_while_the_courses_are_loaded() -> None:
    clock = ManualClock()
    names, now = RosterNames(clock), clock.now()
    others: list[threading.Thread] = []

    class Looked(Course):
        """A course; while it is looked up, bob launches in another thread."""

        def __hash__(self) -> int:
            others.append(
                threading.Thread(target=names.launched, args=("bob", Course(*COURSE), now))
            )
            others[-1].start()
            others[-1].join(0.2)
            return 0

    names.launched("alice", Looked(*COURSE), now)
    names.load((), decides=True)
    assert others
    for each in others:
        each.join()
    assert names.has("alice")
    assert names.has("bob")
