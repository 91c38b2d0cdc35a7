"""The names of answers and questions in addresses; pure.

The name of an answer hides its student: only the course's key tells which one it is.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable

from mograder.core.errors import NotFound
from mograder.store.gradebook.grading_records import WHOLE

_LENGTH = 16
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")
_CODED, _WHOLE = "~=", "~whole"
_WHOLE_TITLE = "The whole submission"


def answer_id(key: bytes, assignment: str, student: str) -> str:
    """Return the name of a student's work in addresses: 16 hexadecimal digits."""
    return _digest(key, "answer", assignment, student)[:_LENGTH]


def group_id(key: bytes, assignment: str, question: str, first: str) -> str:
    """Return the name of a group of equal answers; ``first`` is one of its students."""
    return _digest(key, "group", assignment, question, first)[:_LENGTH]


def student_of(key: bytes, assignment: str, named: str, students: Iterable[str]) -> str:
    """Return whose work has this name. Raises: NotFound if it is none of these students'."""
    for student in students:
        if answer_id(key, assignment, student) == named:
            return student
    raise NotFound("There is no such answer.")


def marking_order(
    key: bytes, assignment: str, marker: str, students: Iterable[str]
) -> tuple[str, ...]:
    """Return the students in a marker's order: random, and always the same."""
    named = ((_digest(key, "order", assignment, marker, each), each) for each in students)
    return tuple(student for _, student in sorted(named))


def question_address(question: str) -> str:
    """Return a question's key as one part of a path; plain keys stay as they are."""
    if question == WHOLE:
        return _WHOLE
    if _PLAIN.fullmatch(question):
        return question
    coded = base64.urlsafe_b64encode(question.encode("utf-8", "surrogatepass"))
    return _CODED + coded.decode().rstrip("=")


def question_of(address: str) -> str:
    """Return the question's key. Raises: NotFound if there is no such address."""
    if address == _WHOLE:
        return WHOLE
    if _PLAIN.fullmatch(address):
        return address
    if not address.startswith(_CODED):
        raise NotFound("There is no such question.")
    coded = address.removeprefix(_CODED).encode("ascii", "replace")
    try:
        data = base64.b64decode(coded + b"=" * (-len(coded) % 4), b"-_", validate=True)
        return data.decode("utf-8")  # the gradebook keeps no key with a lone surrogate
    except (binascii.Error, ValueError) as error:
        raise NotFound("There is no such question.") from error


def question_title(question: str) -> str:
    return question or _WHOLE_TITLE


def _digest(key: bytes, *parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hmac.digest(key, text, "sha256").hex()
