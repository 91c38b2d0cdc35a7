"""The disclosure of the results of hidden tests to students; pure.

An author hides tests so that answers are not written for them. A setting of each
assignment says what pages tell of their results, and from when on: the marks, the names of the
checks, the author's messages, or everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from mograder.core.sections.settings_model import Settings


class Level(IntEnum):
    """The parts of a check with hidden tests that are shown; each level includes those before."""

    NOTHING = 0
    POINTS = 1
    """The marks of all such checks of a question together."""
    LABEL = 2
    """Each check with its label, its marks, and whether it passed."""
    MESSAGE = 3
    """The messages of the conditions that failed."""
    FULL = 4
    """All conditions with their reasons, and the calls, as of other checks."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """The level of checks with hidden tests on a page.

    Until ``later`` it shows neither their results nor the marks that would tell them; None if that
    moment has passed, or there is none.
    """

    level: Level
    later: datetime | None = None

    @classmethod
    def of(
        cls, settings: Settings, assignment: str, *, due: datetime | None, now: datetime
    ) -> Disclosure:
        """Return what the settings allow for an assignment at a time.

        ``due`` is the last due date of any student. Without one, pages tell at once.
        """
        own = settings.items.get(assignment)
        level = (own and own.hidden_tests) or settings.grading.hidden_tests
        after = (own and own.hidden_tests_after) or settings.grading.hidden_tests_after
        if after == "never":
            return cls(Level.NOTHING)
        waits = after == "deadline" and due is not None and now < due
        return cls(Level[level.upper()], due if waits else None)
