"""The content of a page of feedback: the mark, and the reasons for each point; pure.

Everything is from the signed result and from the gradebook, nothing from the submission's text. An
author hides tests so that answers are not written for them. A setting of each assignment says which
of their results pages tell, and from when on: the marks, the names of the checks, the author's
messages, or everything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from enum import IntEnum

from mograder.core.csv_table import number_text
from mograder.core.item_dates import course_zone
from mograder.core.sections.settings_model import Settings
from mograder.grading.late_work import (
    NO_DEDUCTION,
    Deduction,
    late_sentence,
    marks_text,
    moment,
    no_deduction,
)
from mograder.grading.pages.comment_markup import comment_html
from mograder.grading.submissions.grading_result import (
    NO_RESULT,
    GradedCheck,
    GradedLabel,
    GradingResult,
    GradingState,
    LastResult,
)
from mograder.marks import NOTHING, Weights, marks_of_weight, question_weight
from mograder.store.gradebook.grading_records import (
    MANUAL,
    UNPROTECTED,
    WHOLE,
    QuestionGrade,
    StudentGrade,
)
from mograder.store.marking.annotations import NO_REASONS, MarkReasons, Note

_MOST_CALLS = 50
_RAN = frozenset((GradingState.JUDGED, GradingState.CLAIMED, GradingState.UNPROTECTED))
"""States of a question whose marks the submission's code had a part in."""

_SILENT = "some conditions do not hold; what they say may repeat a hidden test"
_TELLING = frozenset((GradingState.NOT_RUN, GradingState.UNPROTECTED))


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

    Until ``later`` it shows neither their results nor the marks that would tell them; None where
    it shows them already, or never. ``zone`` is the course's time zone, for the times on the page;
    None for this machine's.
    """

    level: Level
    later: datetime | None = None
    zone: tzinfo | None = None

    @classmethod
    def of(
        cls, settings: Settings, assignment: str, *, due: datetime | None, now: datetime
    ) -> Disclosure:
        """``due`` is the last time for work of any student; without one, pages tell at once."""
        own = settings.of_item(assignment)
        level = own.hidden_tests or settings.grading.hidden_tests
        after = own.hidden_tests_after or settings.grading.hidden_tests_after
        if after == "never":
            return cls(Level.NOTHING, zone=course_zone(settings))
        waits = after == "deadline" and due is not None and now < due
        return cls(Level[level.upper()], due if waits else None, course_zone(settings))


@dataclass(frozen=True, slots=True)
class ReasonView:
    """One reason: ``points`` with their sign, "" for none; ``html`` is safe markup.

    ``place`` says what it is about, such as lines of the notebook; "" for the answer as a whole.
    """

    html: str
    points: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A word for what came of something, and the class of its colour."""

    word: str
    colour: str


_FULL, _PART, _NONE = Judgement("FULL", "good"), Judgement("PART", "half"), Judgement("NONE", "bad")
_OPEN, _LATER, _SAID = Judgement("OPEN", "wait"), Judgement("LATER", "none"), Judgement("–", "none")
_PASS, _FAIL = Judgement("PASS", "good"), Judgement("FAIL", "bad")
_PARTIAL, _NOT_RUN = Judgement("PARTIAL", "half"), Judgement("NOT RUN", "none")


@dataclass(frozen=True, slots=True)
class ConditionView:
    """A condition of a check; ``reason`` is the error that prevented its evaluation."""

    passed: bool
    message: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LabelView:
    """A check, or all checks with hidden tests of a question together."""

    title: str
    judgement: Judgement
    marks: str = ""
    reason: str = ""
    conditions: tuple[ConditionView, ...] = ()
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionView:
    """A question: its marks in words, its checks, and what people say about it.

    ``reasons`` are those of a person's mark. ``comment_html`` is safe markup.
    """

    key: str
    judgement: Judgement
    marks: str
    sentences: tuple[str, ...] = ()
    labels: tuple[LabelView, ...] = ()
    reasons: tuple[ReasonView, ...] = ()
    comment_html: str = ""


@dataclass(frozen=True, slots=True)
class FeedbackView:
    """A page of feedback without the notebook.

    ``mark`` is empty while there is none, or while it is not told; ``status`` says so. ``late`` is
    the deduction as a sum, ``time`` what is known of the time of work without one.
    """

    assignment: str
    student: str
    mark: str
    most: str
    status: str
    questions: tuple[QuestionView, ...] = ()
    late: str = ""
    time: str = ""
    notes: tuple[str, ...] = ()
    reasons: tuple[ReasonView, ...] = ()
    comment_html: str = ""


@dataclass(frozen=True, slots=True)
class GradedWork:
    """One student's marks with what explains them.

    ``last`` is empty for a student whom only 0.3.16 or people have graded. The marks have the
    deduction already. ``reasons`` are what people said about their marks, by question.
    """

    grade: StudentGrade
    last: LastResult = NO_RESULT
    deduction: Deduction = NO_DEDUCTION
    reasons: Mapping[str, MarkReasons] = field(default_factory=dict)


def view_feedback(work: GradedWork, disclosure: Disclosure) -> FeedbackView:
    grade, result = work.grade, work.last.result
    questions = tuple(_question(each, work, disclosure) for each in grade.questions)
    withheld = any(each.judgement is _LATER for each in questions)
    final = None if withheld else grade.final
    told = grade if final is not None else replace(grade, total=None)
    is_late = bool(work.deduction.percent)
    time = "" if is_late else no_deduction(work.deduction, disclosure.zone)
    return FeedbackView(
        grade.assignment,
        grade.student,
        marks_text(final),
        marks_text(grade.max_mark),
        _status(work, disclosure, withheld=withheld),
        questions,
        late_sentence(told, work.deduction, disclosure.zone) if is_late else "",
        time and f"{time}.",
        tuple(_notes(result)),
        tuple(_reasons(WHOLE, work)),
        comment_html(grade.comment),
    )


def _reasons(key: str, work: GradedWork) -> Iterator[ReasonView]:
    """Yield the reasons in words; annotations of other submissions than this are left out."""
    reasons = work.reasons.get(key, NO_REASONS)
    if _is_replaced(key, work.grade):
        without = (each for each in reasons.saved if each.points is None)
        reasons = MarkReasons(tuple(without), notes=reasons.notes)
    if reasons.from_full:
        yield ReasonView(comment_html("Points count from all marks of the question."))
    for saved in reasons.saved:
        yield ReasonView(comment_html(saved.text), _signed(saved.points))
    if reasons.adjustment:
        yield ReasonView(comment_html("Further points"), _signed(reasons.adjustment))
    if reasons.reason.strip():
        graded = any(each.key == key and each.graded is not None for each in work.grade.questions)
        why = "Why it is another mark than grading's" if graded else "The reason for this mark"
        yield ReasonView(comment_html(reasons.reason), place=why)
    result = work.last.result
    for note in reasons.notes:
        if note.text.strip() and (not result or result.submission_sha256 == note.submission_sha256):
            yield ReasonView(comment_html(note.text), place=_place(note))


def _signed(points: float | None) -> str:
    if points is None:
        return ""
    return f"{'−' if points < 0 else '+'}{number_text(abs(points), places=2)}"


def _place(note: Note) -> str:
    cell = f"Cell {note.cell + 1}"
    if note.first_line is None or note.last_line is None:
        return cell
    if note.first_line == note.last_line:
        return f"{cell}, line {note.first_line}"
    return f"{cell}, lines {note.first_line} to {note.last_line}"


def _is_replaced(key: str, grade: StudentGrade) -> bool:
    """Return whether a person's points would not count: newer ones do, or there are none.

    Comments without points are told all the same.
    """
    if key == WHOLE:
        return grade.whole is None
    manual = any(each.key == key and each.state == MANUAL for each in grade.questions)
    return manual and grade.whole is not None


def _status(work: GradedWork, disclosure: Disclosure, *, withheld: bool) -> str:
    if withheld and disclosure.later is not None:
        return f"Your mark will be told after {moment(disclosure.later, disclosure.zone)}."
    if work.grade.final is not None:
        return ""
    result = work.last.result
    if result is not None and result.state is GradingState.NEEDS_ATTENTION:
        return "Not marked yet: your instructor has to look at this submission."
    return "Not marked yet."


def _notes(result: GradingResult | None) -> Iterator[str]:
    if result is None:
        return
    if result.problem and result.state is not GradingState.NEEDS_ATTENTION:
        yield f"Your submission could not be run: {result.problem}"
    if result.tampered:
        told = ", ".join(result.tampered)
        yield f"These parts are not as they were handed out; what was handed out counts: {told}."
    if not result.protected and any(each.state in _RAN for each in result.questions):
        yield "This was graded without protection from the submission's own code."


def _question(grade: QuestionGrade, work: GradedWork, disclosure: Disclosure) -> QuestionView:
    checks = () if work.last.result is None else work.last.result.checks
    found = [(check, label) for check in checks for label in check.labels if label.key == grade.key]
    silent = _may_repeat(checks)
    hidden = any(label.hidden for _, label in found)
    if hidden and disclosure.later is not None:
        labels = [_label(c, x, "", Level.NOTHING, silent) for c, x in found if not x.hidden]
        later = moment(disclosure.later, disclosure.zone)
        until = f"Its marks, and hidden tests, will be told after {later}."
        return QuestionView(grade.key, _LATER, "", (until,), tuple(labels))
    marks = marks_text(grade.points)
    judgement = _PASS if all(label.passed for _, label in found) else _FAIL
    if grade.open:
        judgement = _OPEN
    elif grade.points is not None and grade.available:
        judgement = _of_marks(grade.points, grade.available)
    elif not found:
        judgement = _SAID
    return QuestionView(
        grade.key,
        judgement,
        marks if grade.available is None else f"{marks or '–'} of {marks_text(grade.available)}",
        tuple(_sentences(grade, found, disclosure.level)),
        tuple(_labels(found, _Shares.of(found, grade.available), disclosure.level, silent)),
        tuple(_reasons(grade.key, work)),
        comment_html(grade.comment),
    )


def _of_marks(points: float, available: float) -> Judgement:
    if points >= available:
        return _FULL
    return _PART if points > 0 else _NONE


def _sentences(
    grade: QuestionGrade,
    found: Sequence[tuple[GradedCheck, GradedLabel]],
    level: Level,
) -> Iterator[str]:
    if grade.open:
        yield f"This question is {grade.open}."
    elif grade.marker:
        graded = "" if grade.graded is None else f" Grading gave {marks_text(grade.graded)}."
        yield f"A person gave this mark.{graded}"
    elif grade.state == MANUAL and grade.available:
        yield "A person marks this question, together with others."
    if grade.state == UNPROTECTED:
        yield "Its checks ran beside your answers, so a person confirms the mark."
    shown = [check for check, _ in found if level >= Level.FULL or not check.hidden]
    claims = dict.fromkeys(claim for check in shown for claim in check.claims)
    if claims:
        yield f"This rests on what the notebook says about itself: {'; '.join(claims)}."
    if level is Level.NOTHING and any(label.hidden for _, label in found):
        yield "Hidden tests are part of this mark."


@dataclass(frozen=True, slots=True)
class _Shares:
    available: float
    weights: Mapping[str, Weights]

    @classmethod
    def of(
        cls, found: Sequence[tuple[GradedCheck, GradedLabel]], available: float | None
    ) -> _Shares:
        weights = {x.label: Weights(x.earned, x.total, x.passed) for _, x in found}
        return cls(available or 0.0, {} if available is None else weights)

    def marks(self, *labels: GradedLabel) -> tuple[float, float] | None:
        """Return what labels have earned together of how many marks; None if they have no share.

        Their weights are added, not their marks: three thirds of 10 marks are 10, and not 9.9.
        """
        own = [self.weights.get(each.label, NOTHING) for each in labels]
        total = question_weight(self.weights)
        if total <= 0 or all(each == NOTHING for each in own):
            return None
        earned, most = math.fsum(x.earned for x in own), math.fsum(x.total for x in own)
        of = self.available
        return marks_of_weight(of, earned, total), marks_of_weight(of, most, total)


def _labels(
    found: Sequence[tuple[GradedCheck, GradedLabel]],
    shares: _Shares,
    level: Level,
    silent: frozenset[tuple[int, str]],
) -> Iterator[LabelView]:
    together = []
    for check, label in found:
        marks = _share(shares.marks(label))
        visible = _in_release(check, label, silent)
        if not label.hidden or level >= Level.FULL:
            yield _label(check, label, marks, level, silent)
        elif level >= Level.LABEL:
            # A run beside the answer could put anything into a message.
            told = level >= Level.MESSAGE and check.state is not GradingState.UNPROTECTED
            failed = (ConditionView(False, c.message) for c in label.conditions if not c.passed)
            conditions = tuple(failed) if told else visible
            yield LabelView(label.label, _of_label(check, label), marks, conditions=conditions)
        elif visible:
            title = f"{label.label}, what your notebook says of it"
            held = all(each.passed for each in visible)
            yield LabelView(title, _PASS if held else _FAIL, conditions=visible)
        if label.hidden and level is Level.POINTS:
            together.append(label)
    if together:
        share = shares.marks(*together)
        judgement = _PASS if all(label.passed for label in together) else _FAIL
        if share is not None and share[1]:
            yield LabelView("Hidden tests", _of_marks(*share), _share(share))
        else:
            yield LabelView("Hidden tests", judgement)


def _share(share: tuple[float, float] | None) -> str:
    return "" if share is None else f"{marks_text(share[0])} of {marks_text(share[1])}"


def _label(
    check: GradedCheck,
    label: GradedLabel,
    marks: str,
    level: Level,
    silent: frozenset[tuple[int, str]],
) -> LabelView:
    """Return all of a label whose own tests are not hidden, or may be shown."""
    full = level >= Level.FULL  # the calls are of the whole check, which may have hidden tests
    calls = _calls(check) if full or not check.hidden else ()
    telling = full or (check.cell, label.label) not in silent
    return LabelView(
        label.label,
        _of_label(check, label),
        marks,
        check.reason if telling and check.state in _TELLING else "",
        tuple(_conditions(label, telling=telling)),
        tuple(calls),
    )


def _conditions(label: GradedLabel, *, telling: bool) -> Iterator[ConditionView]:
    """Yield how many conditions hold, then those that do not: messages tell what is wrong."""
    failed = [each for each in label.conditions if not each.passed]
    held, count = len(label.conditions) - len(failed), len(label.conditions)
    if held:
        of = f"{held} of {count} conditions hold" if count > 1 else "its condition holds"
        yield ConditionView(True, of if failed or count == 1 else f"all {count} conditions hold")
    for each in failed if telling else ():
        yield ConditionView(False, each.message, each.reason)
    if failed and not telling:
        yield ConditionView(False, _SILENT)


def _in_release(
    check: GradedCheck, label: GradedLabel, silent: frozenset[tuple[int, str]]
) -> tuple[ConditionView, ...]:
    """Return what came of a hidden label's conditions that students can read in the release.

    Each was evaluated before any hidden test was asked. Their reasons may quote values, and stay
    away.
    """
    ran = check.state in (GradingState.JUDGED, GradingState.CLAIMED)
    if not ran or not label.hidden or (check.cell, label.label) in silent:
        return ()
    said = Counter(each.message for each in label.conditions)
    plain = tuple(
        replace(each, reason="")
        for each in label.conditions
        if each.message in label.visible and said[each.message] == 1
    )
    return tuple(_conditions(label.model_copy(update={"conditions": plain}), telling=True))


def _may_repeat(checks: Sequence[GradedCheck]) -> frozenset[tuple[int, str]]:
    """Return the cells and labels whose messages may repeat a hidden test.

    The judge asks the checks with hidden tests last, in the order of the result. So these are the
    labels behind the first hidden one. Of the checks that ran beside the answer all are, if one of
    them has hidden tests: the answer had that code in its file, and could write the messages, and
    the reason why a check did not run.
    """
    labels = [(check.cell, label) for check in checks if check.hidden for label in check.labels]
    first = next((n for n, (_, label) in enumerate(labels) if label.hidden), len(labels))
    silent = labels[first + 1 :]
    unsure = [each for each in checks if each.beside or each.state is GradingState.UNPROTECTED]
    if any(check.hidden for check in unsure):
        silent += [(check.cell, label) for check in unsure for label in check.labels]
    return frozenset((cell, label.label) for cell, label in silent)


def _of_label(check: GradedCheck, label: GradedLabel) -> Judgement:
    if check.state is GradingState.NEEDS_ATTENTION:
        return _OPEN
    if check.state is GradingState.NOT_RUN:
        return _NOT_RUN
    if label.passed:
        return _PASS
    return _PARTIAL if label.earned > 0 else _FAIL


def _calls(check: GradedCheck) -> Iterator[str]:
    for call in check.calls[:_MOST_CALLS]:
        yield f"{call.call} → {call.result or call.status}"
    if len(check.calls) > _MOST_CALLS:
        yield f"… and {len(check.calls) - _MOST_CALLS} more"
