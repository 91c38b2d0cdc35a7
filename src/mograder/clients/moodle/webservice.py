"""Calls of web-service functions: the validated answer, or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from mograder.clients.moodle.errors import Refusal, as_error
from mograder.clients.moodle.html_text import plain
from mograder.clients.moodle.http import Value, Wire
from mograder.clients.moodle.models import Warned
from mograder.core.errors import Forbidden, RemoteFailed

T = TypeVar("T")

_WARNINGS = TypeAdapter(list[Warned])


class Functions:
    """The web-service functions for the owner of a token; ``offered`` is empty until known."""

    def __init__(self, wire: Wire, token: str) -> None:
        self.offered: frozenset[str] = frozenset()
        self._wire = wire
        self._token = token

    def read(self, shape: TypeAdapter[T], function: str, fields: Mapping[str, Value]) -> T:
        """Return the answer to a read-only call, retried if the network fails.

        Raises:
            MograderError: Moodle refused, cannot be reached, or answers in another form.
        """
        return _shaped(shape, function, self._call(function, fields, safe=True))

    def change(self, function: str, fields: Mapping[str, Value]) -> None:
        """Call a function that changes something, once; its answer does not show the result.

        Raises:
            MograderError: Moodle refused, or cannot be reached.
        """
        self._call(function, fields, safe=False)

    def warned(self, function: str, fields: Mapping[str, Value]) -> None:
        """Call a function whose refusal is a list of warnings.

        Raises:
            MograderError: Moodle warned, refused, or cannot be reached.
        """
        answer = self._call(function, fields, safe=False)
        warnings = _shaped(_WARNINGS, function, answer or [])
        if warnings:
            raise as_error(Refusal(warnings[0].warningcode, warnings[0].item, asked=function))

    def _call(self, function: str, fields: Mapping[str, Value], *, safe: bool) -> object:
        try:
            return self._wire.call(function, self._token, fields, safe=safe)
        except Forbidden as error:
            if not self.offered or function in self.offered:
                raise
            raise Forbidden(
                f"The web service of this token has no function {function}.",
                hint="Ask the Moodle administrator to add it to the service; our documentation "
                "lists the functions and why.",
            ) from error


def demand_access(warnings: Sequence[Warned], function: str) -> None:
    """Raise if a list is empty because we may not read it: Moodle only warns.

    Raises:
        Forbidden: A warning says that access is denied.
    """
    denied = [warning for warning in warnings if warning.warningcode == "1"]
    if denied:
        raise as_error(Refusal("nopermission", denied[0].message, asked=function))


def demand_course(warnings: Sequence[Warned], course_id: int) -> None:
    """Raise if Moodle refuses a course with a reason, such as an incomplete profile.

    Raises:
        Forbidden: A warning refuses the course; the message has Moodle's words.
    """
    told = (each for each in warnings if each.warningcode == "1" and each.itemid == course_id)
    # Some versions of Moodle append the stack trace of their exception.
    reasons = [plain(each.message.partition("#0 ")[0]).rstrip(". ") for each in told]
    reason = next(filter(None, reasons), "")
    if reason:
        raise Forbidden(
            f"Moodle does not let you into course number {course_id}: {reason}.",
            hint="If it says that your account is not fully set up, sign in to Moodle with your "
            "browser and complete your profile. Otherwise ask the teacher of the course.",
        )


def _shaped(shape: TypeAdapter[T], function: str, answer: object) -> T:
    try:
        return shape.validate_python(answer)
    except ValidationError as error:
        where = ".".join(str(step) for step in error.errors()[0]["loc"])
        raise RemoteFailed(
            f"Moodle's answer to {function} has another form than we know (at {where!r}).",
            hint="This Moodle may be newer or older than the ones we know (4.1 to 5.1); "
            "a proxy may also have changed the answer.",
        ) from error
