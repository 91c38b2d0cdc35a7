"""What is sent to a platform for a mark, and what its answers mean; pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from datetime import timedelta
from enum import Enum, auto

from mograder.clients.lti_platform import LineItem, Result
from mograder.store.external.external_tables import ScoreRow

LONGEST_COMMENT = 4096
"""Bytes of a comment in UTF-8: a refusal of Moodle repeats it in the status line of its answer."""

_JOINERS = "\u200c\u200d"
"""They are part of words in Persian and Hindi, and of emoji."""

_CUT = "\n… (the rest is on the hub)"
_EQUAL = 0.0005
"""Marks are equal that differ by less than this part of the maximum: platforms round them."""

_FIRST, _LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)
_SERVER_ERRORS = 500
_LATER = frozenset({401, 403, 408, 425, 429})


class Step(Enum):
    """What follows from the status of an answer to a mark that was sent."""

    COMPARE = auto()
    """The platform has a mark with this timestamp, or with a later one."""
    FIND = auto()
    """The grade item is gone: look for another one, once."""
    REFUSED = auto()
    """The platform will not take this mark."""
    LATER = auto()


def step_of(status: int) -> Step:
    """Return what follows from a status that is no success; 0 means an answer that was no HTTP."""
    if status == 409:
        return Step.COMPARE
    if status == 404:
        return Step.FIND
    if 400 <= status < _SERVER_ERRORS and status not in _LATER:
        return Step.REFUSED
    return Step.LATER


def wait_after(tries: int) -> timedelta:
    """Return how long to wait after this many tries: a minute first, an hour at most."""
    doubled: int = 1 << min(max(tries - 1, 0), 10)
    return min(_FIRST * doubled, _LONGEST_WAIT)


def reason_to_wait(status: int) -> str:
    """Return why a mark waits after an answer, in a sentence with the remedy."""
    if status in (401, 403):
        return (
            f"The platform did not let the hub in ({status}): switch on its services of grades "
            "for this tool."
        )
    if status == _SERVER_ERRORS:
        return (
            f"The platform failed ({status}). If this stays, look whether its grade item is locked."
        )
    if status > _SERVER_ERRORS:
        return f"The platform does not work at the moment ({status})."
    return f"The platform could not take it now ({status})."


def reason_of_refusal(status: int) -> str:
    """Return why a mark is not sent after an answer, in a sentence."""
    return f"The platform does not take a mark for this person ({status}): no student there?"


def is_ours(result: Result, ours: Collection[float | None]) -> bool:
    """Return whether the mark at a platform is one that this hub sent, or none at all.

    ``ours`` are parts of the maximum. A platform may cut what is above its maximum.
    """
    if result.score is None:
        return True
    part = result.score / result.maximum
    return any(_equal(part, each) for each in ours if each is not None)


def is_emptied(row: ScoreRow, found: Result) -> bool:
    """Return whether a mark of this hub that was there is not any more, and not by this hub."""
    before = [each for each in row.ours if each != row.part]
    return found.score is None and row.sent_at is not None and bool(before) and None not in before


def not_there(row: ScoreRow, found: Result) -> str:
    """Return why another mark than the one in the row is at the platform, in a sentence."""
    if found.score is None:
        return "The mark was emptied on the platform, which goes on showing none."
    if is_ours(found, row.ours):
        return (
            f"The platform keeps {there(found)}, an earlier mark of this hub: it was overridden or "
            "locked there."
        )
    return f"The platform has {there(found)}, which is not from this hub, and keeps it."


def has_arrived(result: Result, part: float | None) -> bool:
    """Return whether a platform has this mark; None means that it has none."""
    if result.score is None or part is None:
        return result.score is None and part is None
    return _equal(result.score / result.maximum, part)


def there(result: Result) -> str:
    """Return the mark at the platform in words."""
    if result.score is None:
        return "no mark"
    return f"{result.score:g} of {result.maximum:g}"


def grade_item_of(found: Sequence[LineItem], resource_link: str) -> str:
    """Return the address of the grade item to use, "" if it is not clear which one.

    The one of the activity itself is preferred, since the platform keeps a teacher's changes there.
    """
    own = [each.address for each in found if each.resource_link == resource_link]
    if own:
        return own[0]
    return found[0].address if len(found) == 1 else ""


def comment_text(comment: str, late: str = "") -> str:
    """Return a comment as plain text: the sum of a deduction first, and cut if it is too long."""
    lines = [late] if late else []
    lines += [comment.strip()] if comment.strip() else []
    text = "\n\n".join(lines).replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(map(_shown, text))
    data = text.encode("utf-8", "replace")
    if len(data) <= LONGEST_COMMENT:
        return data.decode()
    room = LONGEST_COMMENT - len(_CUT.encode())
    return data[:room].decode("utf-8", "ignore") + _CUT


def _shown(character: str) -> str:
    """Return a character without those of control; other spaces become plain ones."""
    if character in _JOINERS or character in "\n\t" or character.isprintable():
        return character
    return " " if unicodedata.category(character) == "Zs" else ""


def _equal(one: float, other: float) -> bool:
    return any(abs(one - each) < _EQUAL for each in (other, min(max(other, 0.0), 1.0)))
