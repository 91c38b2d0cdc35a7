"""Requests to look at a mark again: the rules of asking, answering and deciding.

A request changes no mark. A decision records the mark as a person's, with the answer as its reason,
and releases the student's marks again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from mograder.core.csv_table import number_text
from mograder.core.errors import Conflict, Forbidden, InvalidInput
from mograder.core.names import is_same_person
from mograder.grading.pages.page_templates import readable
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.releasing import new_release, parse_marks
from mograder.store.gradebook.gradebook import Gradebook, OneTransaction
from mograder.store.gradebook.grading_records import (
    EARLIER_MARKER,
    MACHINE,
    MANUAL,
    WHOLE,
    MarkDetails,
    MarkEntry,
    QuestionGrade,
    StudentGrade,
)
from mograder.store.gradebook.mark_release import MarkReleases, Standing, standing
from mograder.store.marking.question_marking import Change, QuestionMarks, markers_of
from mograder.store.marking.regrade_requests import (
    Message,
    MessageKind,
    RegradeRequest,
    RegradeRequests,
    RequestState,
)

LONGEST_TEXT = 4000
"""Characters of one message."""

MOST_MESSAGES = 20
"""Messages of the student in one thread."""

RequestsTo = Literal["marker", "other", "instructors"]


@dataclass(frozen=True, slots=True)
class RequestRules:
    """The settings of requests: ``days`` after the release (0: none), and the person asked.

    ``told_from`` is when marks that were held back for others' due dates were told.
    """

    days: int
    to: RequestsTo
    told_from: datetime | None = None

    def closes(self, stands: Standing) -> datetime | None:
        """Return until when a student may ask about visible marks; None if not at all."""
        if stands.shown is None or not self.days:
            return None
        visible = stands.shown.visible_from or stands.shown.at
        began = max(visible, self.told_from or visible)
        return began + timedelta(days=self.days)


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision: ``points`` is the new mark, None to keep the one there is.

    ``seen`` is the thread's newest message that the person has read, ``version`` that of all marks
    of the student, "" for the present ones: a decision for other points releases all of them.
    """

    by: str
    text: str
    points: float | None
    seen: int
    version: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that was recorded; ``released`` is whether the student sees the new mark."""

    before: float | None
    after: float | None
    released: bool


def ask(
    book: Gradebook, rules: RequestRules, marks: tuple[str, str, str], text: str, now: datetime
) -> int:
    """Record a student's request; return its number.

    ``marks`` are the assignment, the student, and the key of the question.

    Raises:
        InvalidInput: The text is empty or too long, there is no such question, or one mark for the
            whole submission counts in its place.
        Forbidden: The marks are not released, or the time for requests is over.
        Conflict: There is a request already.
    """
    assignment, student, key = marks
    said = _checked(text)
    stands = standing(MarkReleases(book).rows_for(assignment, student), now)
    _demand_open(rules, stands, now)
    assert stands.shown is not None
    grade = parse_marks(stands.shown.grade).grade
    question = _question_or_none(grade, key)
    if question is None:
        raise InvalidInput(f"{assignment} has no question {key[:100]!r}.")
    if question.points is None and grade.whole is not None:
        raise InvalidInput(
            f"{key} has no mark of its own.", hint="Ask about the mark for the whole submission."
        )
    requests = RegradeRequests(book)
    _refuse_flood(requests.of(assignment, student, key))
    assignee = _assignee(book, rules.to, (assignment, student), question, requests.of(assignment))
    message = Message(MessageKind.ASKED, student, now, said, assignee)
    return requests.ask(assignment, student, key, message)


def reply(book: Gradebook, request: RegradeRequest, text: str, now: datetime) -> None:
    """Record words of the student before a decision. Raises: InvalidInput, Conflict, Forbidden."""
    if not request.waits:
        raise Forbidden("This request is closed.", hint="Talk to your instructor.")
    _refuse_flood([request])
    assignee = request.assignee
    message = Message(MessageKind.ASKED, request.student, now, _checked(text), assignee)
    RegradeRequests(book).add(request.number, message, seen=request.last)


def withdraw(book: Gradebook, request: RegradeRequest, now: datetime, text: str = "") -> None:
    """Record that the student takes a request back, while it is not decided; with words, if any.

    Raises: InvalidInput, Forbidden, Conflict.
    """
    if not request.waits:
        raise Forbidden("This request is closed.")
    said = _checked(text) if text.strip() else ""
    message = Message(MessageKind.WITHDRAWN, request.student, now, said)
    RegradeRequests(book).add(request.number, message, seen=request.last)


def answer(
    book: Gradebook, request: RegradeRequest, by: str, text: str, *, seen: int, now: datetime
) -> None:
    """Record words of staff without a decision. Raises: InvalidInput, Conflict."""
    if not request.waits:
        raise Conflict("This request is closed.", hint="Reopen it first.")
    message = Message(MessageKind.ANSWERED, by, now, _checked(text))
    RegradeRequests(book).add(request.number, message, seen=seen)


def assign(
    book: Gradebook, request: RegradeRequest, by: str, to: str, *, seen: int, now: datetime
) -> None:
    """Give a request to another person, or to any instructor (""). Raises: Conflict."""
    message = Message(MessageKind.ASSIGNED, by, now, assignee=to)
    RegradeRequests(book).add(request.number, message, seen=seen)


def reopen(
    book: Gradebook, request: RegradeRequest, by: str, text: str, *, seen: int, now: datetime
) -> None:
    """Open a decided request again. Raises: InvalidInput, Conflict."""
    if request.state is not RequestState.DECIDED:
        raise Conflict("This request is not decided.")
    message = Message(MessageKind.REOPENED, by, now, _checked(text))
    RegradeRequests(book).add(request.number, message, seen=seen)


def decide(feedback: CourseFeedback, request: RegradeRequest, made: Decision) -> Decided:
    """Record a decision; one with other points also records the mark, and releases it again.

    The mark is released only if the student sees one, or will at a time that is planned: marks
    taken back stay so until then. All of it is one transaction. A request about a question that
    the assignment has no more, or in whose place one mark for the whole submission counts now, can
    only be closed with words.

    Raises:
        InvalidInput: The text is empty or too long, or the points are out of range.
        NotFound: There is no such question now, and other points for it.
        Conflict: The request is closed, or another message or mark came meanwhile, or there are
            points for a question that has no mark of its own.
    """
    said = _checked(made.text)
    if not request.waits:
        raise Conflict("This request is closed.", hint="Reopen it first.")
    with feedback.book.writing() as connection:
        within = replace(feedback, book=OneTransaction(connection))
        return _decide(within, request, made, said)


def _decide(
    feedback: CourseFeedback, request: RegradeRequest, made: Decision, said: str
) -> Decided:
    book = feedback.book
    requests = RegradeRequests(book)
    assignment, student, now = request.assignment, request.student, feedback.now
    stands = standing(MarkReleases(book).rows_for(assignment, student), now)
    grades = book.grades(assignment, (student,))
    if not grades:
        raise InvalidInput("The gradebook has no marks of this student.")
    grade = grades[0]
    question = _question_or_none(grade, request.question)
    present = None if question is None else question.points
    before = points_seen(stands, request.question, present)
    replaced = is_replaced(grade, request.question)
    if replaced and made.points is not None:
        by = f"One mark for the whole submission counts in place of {request.question}'s"
        raise Conflict(
            f"{by if request.question else 'Marks of questions count in place of this one'}.",
            hint="Change what counts, and close the request with a few words.",
        )
    if made.points is None and is_changed(grade, stands, request.question):
        raise Conflict(
            f"The mark was changed to {number_text(present)} since it was released.",
            hint="Give the points that shall count.",
        )
    if made.points is None or made.points == present == before:
        after = None if question is None or replaced else before  # it does not count any more
        message = Message(MessageKind.KEPT, made.by, now, said, before=before, after=after)
        requests.add(request.number, message, seen=made.seen)
        return Decided(before, after, released=False)
    if made.version not in ("", str(grade.version)):
        raise Conflict(
            "The marks of this student were changed meanwhile.",
            hint="See what another mark releases now, then send yours again.",
        )
    if made.points != present:
        _record_mark(book, request, made, now)
    # The new mark replaces the released one, or the one that a planned release will show.
    planned = stands.waiting.visible_from if stands.waiting and not stands.shown else None
    release = new_release(feedback, student, planned) if stands.shown or planned else None
    kind = MessageKind.KEPT if made.points == before else MessageKind.CHANGED
    message = Message(kind, made.by, now, said, before=before, after=made.points)
    requests.add(request.number, message, seen=made.seen, release=release)
    return Decided(before, made.points, released=bool(release and stands.shown))


def _record_mark(book: Gradebook, request: RegradeRequest, made: Decision, now: datetime) -> None:
    """Record the points as the person's mark; its comments stay as they are."""
    marks = QuestionMarks(book)
    stands = marks.state(request.assignment, request.student, request.question)
    saved = stands.given.details.saved if stands.given is not None else ()
    details = MarkDetails(saved=saved, reason=readable(made.text).strip())
    comment = stands.comment if request.question == WHOLE else stands.question.comment
    entry = MarkEntry(made.points, comment, details)
    change = Change(request.question, entry, made.by, now, stands.version)
    marks.give(request.assignment, request.student, change)


def is_replaced(grade: StudentGrade, key: str) -> bool:
    """Return whether one mark for the whole submission counts in place of a question's own.

    A newer mark of the question would replace it, and leave the others without one. For the mark of
    the whole, return whether marks that people gave to questions count in its place.
    """
    manual = [each for each in grade.questions if each.state == MANUAL]
    if key == WHOLE:
        return grade.whole is None and any(each.marker for each in manual)
    return grade.whole is not None and any(each.key == key for each in manual)


def _question_or_none(grade: StudentGrade, key: str) -> QuestionGrade | None:
    """Return a question of a student; :data:`WHOLE` is the mark of the whole submission."""
    if key == WHOLE:
        return grade.whole
    return next((each for each in grade.questions if each.key == key), None)


def is_changed(grade: StudentGrade, stands: Standing, key: str) -> bool:
    """Whether the mark of a question was changed since the student saw it.

    It cannot be kept then without saying which points shall count.
    """
    question = _question_or_none(grade, key)
    if question is None or is_replaced(grade, key):
        return False
    return question.points != points_seen(stands, key, question.points)


def points_seen(stands: Standing, key: str, present: float | None) -> float | None:
    if stands.shown is None:
        return present
    seen = _question_or_none(parse_marks(stands.shown.grade).grade, key)
    return present if seen is None else seen.points


def _demand_open(rules: RequestRules, stands: Standing, now: datetime) -> None:
    closes = rules.closes(stands)
    if stands.shown is None:
        raise Forbidden("These marks are not released.")
    if closes is None:
        raise Forbidden("This course takes no requests here.", hint="Talk to your instructor.")
    if now > closes:
        raise Forbidden("The time for requests is over.", hint="Talk to your instructor.")


def _checked(text: str) -> str:
    """Return it without control characters. Raises: InvalidInput if it is empty or too long."""
    said = readable(text.replace("\r\n", "\n")).strip()
    if not said:
        raise InvalidInput("Write why.", hint="The text is empty.")
    if len(said) > LONGEST_TEXT:
        raise InvalidInput(f"A message may have at most {LONGEST_TEXT} characters.")
    return said


def _refuse_flood(requests: Sequence[RegradeRequest]) -> None:
    for request in requests:
        own = sum(each.by == request.student for each in request.messages)
        if own >= MOST_MESSAGES:
            raise Forbidden(
                f"A thread has at most {MOST_MESSAGES} messages of yours.",
                hint="Talk to your instructor.",
            )


def _assignee(
    book: Gradebook,
    to: RequestsTo,
    work: tuple[str, str],
    question: QuestionGrade,
    known: Sequence[RegradeRequest],
) -> str:
    """Return the person who is to answer; "" for any instructor, and never the student.

    ``work`` are the assignment and the student.

    A mark by grading has no marker, so instructors answer. With "other" it is the marker of this
    assignment with the fewest open requests who did not give the mark.
    """
    assignment, student = work
    person = question.marker if question.marker not in (MACHINE, EARLIER_MARKER) else ""
    if to == "instructors" or not person or is_same_person(person, student):
        return ""
    if to == "marker":
        return person
    markers = markers_of(book, assignment) - {person}
    others = [name for name in markers if not is_same_person(name, student)]
    load = Counter(each.assignee for each in known if each.waits)
    return min(others, key=lambda name: (load[name], name), default="")
