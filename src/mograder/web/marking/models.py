"""The JSON of marking: what its pages read and send.

Answers are named by an opaque identifier, so that addresses and pages do not tell the student. A
question is named in addresses by its ``address``, since a key may have any character. Texts of
markers are Markdown; ``html`` beside one is the text rendered, safe to put into a page.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_TEXT = 20_000
"""The longest comment, in characters."""

_MOST_SAVED = 100
_Points = Annotated[float, Field(ge=-10_000, le=10_000, allow_inf_nan=False)]
_Text = Annotated[str, Field(max_length=MOST_TEXT)]
_Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")]


class _Sent(BaseModel):
    """The body of a page's request: unknown fields are refused, so that none is lost silently."""

    model_config = ConfigDict(extra="forbid")


# Models that the pages read


class QuestionSummary(BaseModel):
    """How far a question is.

    ``key`` is empty for the submission as a whole; ``state`` is "manual" for a question without
    checks. ``marked`` counts answers with a mark by a person, ``waiting`` those that wait for a
    person, ``mine`` those that wait in the marker's own share.
    """

    key: str
    address: str
    title: str
    available: float | None
    state: str
    marked: int
    total: int
    waiting: int
    mine: int


class Overview(BaseModel):
    """An assignment's questions in its order."""

    questions: list[QuestionSummary]


class QueueEntry(BaseModel):
    """An answer in a marker's order.

    ``share`` is the marker who is to mark it, "" for any. ``group`` is the group of equal answers
    with which it gets one mark. ``open`` says what the answer waits for, "" if for nothing.
    """

    id: str
    label: str
    state: str
    points: float | None
    marker: str
    share: str
    group: str | None = None
    look_again: bool
    open: str


class Queue(BaseModel):
    """All answers to a question: the marker's own share first."""

    answers: list[QueueEntry]


class ShownCell(BaseModel):
    """A cell of the submission; ``index`` is its place there, ``line`` its first line in the file.

    ``lines`` counts its lines, which annotations number from 1. ``kind`` is "code" or "text": of a
    written answer ``html`` is the text rendered. ``own`` is whether it belongs to the question.
    """

    index: int
    name: str
    code: str
    line: int
    lines: int
    kind: str
    html: str = ""
    own: bool = True


class Condition(BaseModel):
    """A condition of a check; ``reason`` is the error that prevented its evaluation."""

    message: str
    passed: bool
    reason: str


class Label(BaseModel):
    """The result of one check; ``hidden``: it has tests that students do not see."""

    label: str
    earned: float
    total: float
    passed: bool
    hidden: bool
    reason: str
    conditions: list[Condition]


class Automatic(BaseModel):
    """The result of grading a question."""

    points: float | None
    state: str
    reason: str
    labels: list[Label]


class Mark(BaseModel):
    """A mark that a person gave.

    ``adjustment`` is None where the marker gave the points as a number; else the points are those
    of the saved comments and the adjustment. ``state`` is "" but for marks of mograder 0.3.16:
    "imported" or "doubtful".
    """

    points: float | None
    adjustment: float | None
    saved: list[str]
    comment: str
    html: str
    reason: str
    marker: str
    at: str
    state: str = ""


class Annotation(BaseModel):
    """A comment at a cell of the submission, or at lines of it (from 1; None: the whole cell).

    ``outdated``: it was written about another submission than the one shown.
    """

    id: str
    question: str
    cell: int
    first_line: int | None
    last_line: int | None
    text: str
    html: str
    saved_comment: str | None
    version: int
    by: str
    at: str
    outdated: bool = False


class Group(BaseModel):
    """The group of equal answers that an answer belongs to.

    ``separate``: taken out of it. ``same`` is False for texts of which some differ in a few words.
    ``size`` counts those that get one mark; of an answer taken out, all of the group.
    """

    id: str
    size: int
    separate: bool
    same: bool = True


class AnswerGroup(BaseModel):
    """A group of equal answers, by their names; ``separate`` are those taken out of it."""

    id: str
    same: bool
    answers: list[str]
    separate: list[str]


class AnswerGroups(BaseModel):
    """The groups of equal answers to a question, the largest first."""

    groups: list[AnswerGroup]


class Separated(BaseModel):
    """The group of an answer after a change."""

    group: Group | None


class RegradeRequest(BaseModel):
    """A student's request to look at the mark again."""

    id: int
    text: str
    at: str
    state: str


class AnswerState(BaseModel):
    """An answer to a question, with all that its mark depends on.

    ``outputs`` is the address, below the prefix, of the notebook as it ran, "" without one; it is
    for an opaque sandboxed frame. ``solution`` are the cells of the author's solution. ``scale`` is
    the HTML of the marking scale, ``task`` that of the question's own words. ``reason_needed``:
    another mark than grading's needs a reason.
    ``undo``: the marker's own last change can be taken back. ``whole`` is the mark for all
    questions without checks together, if one counts. ``total`` are all marks of the student.
    ``trouble`` says what cannot be shown, if so; ``text`` is a submission that is no notebook.
    ``submission`` is the SHA-256 of the one that was graded last.
    """

    id: str
    label: str
    question: str
    address: str
    title: str
    available: float | None
    cells: list[ShownCell]
    outputs: str
    auto: Automatic | None
    mark: Mark | None
    version: str
    look_again: bool
    open: str
    annotations: list[Annotation]
    solution: list[ShownCell]
    scale: str
    task: str
    reason_needed: bool
    undo: bool
    whole: Mark | None = None
    total: float | None = None
    text: str = ""
    submission: str = ""
    trouble: str = ""
    group: Group | None = None
    requests: list[RegradeRequest] = []


class Saved(BaseModel):
    """The state after a change; ``total`` are all marks of the student, None while one is missing.

    ``also`` counts the further answers of the group that got the same mark.
    """

    mark: Mark | None
    version: str
    total: float | None
    look_again: bool
    open: str
    undo: bool
    also: int = 0


class Conflicting(BaseModel):
    """The answer to a change (409) that another person's change came before; nothing was saved."""

    detail: str
    now: Mark | None
    version: str


class HistoryEntry(BaseModel):
    """A mark of a question's history, newest first; ``marker`` is "" for grading."""

    points: float | None
    available: float | None
    state: str
    marker: str
    comment: str
    saved: list[str]
    adjustment: float | None
    reason: str
    at: str


class History(BaseModel):
    """The marks that an answer had, newest first."""

    entries: list[HistoryEntry]


class SavedComment(BaseModel):
    """A comment to use again; one with points is an item of the rubric."""

    id: str
    text: str
    html: str
    points: float | None
    position: int
    version: int
    by: str
    at: str


class Comments(BaseModel):
    """The saved comments of a question in their order, and from where their points count."""

    starts_at: Literal["zero", "full"]
    comments: list[SavedComment]


class CommentChanged(BaseModel):
    """A saved comment after a change; ``changed`` counts the marks that were computed again."""

    comment: SavedComment | None
    changed: int


class CommentConflict(BaseModel):
    """The answer to a change (409) of a saved comment that another person changed meanwhile."""

    detail: str
    now: SavedComment


class AnnotationConflict(BaseModel):
    """The answer to a change (409) of an annotation that another person changed meanwhile."""

    detail: str
    now: Annotation


class ChangedMark(BaseModel):
    """A mark that a change of points would change."""

    id: str
    label: str
    before: float | None
    after: float | None


class CommentPreview(BaseModel):
    """A saved comment, and the marks that the points asked about would change."""

    comment: SavedComment
    changes: list[ChangedMark]


class RubricChanged(BaseModel):
    """From where points count now; ``changed`` counts the marks that were computed again."""

    starts_at: Literal["zero", "full"]
    changed: int


class Rendered(BaseModel):
    """A comment as it will be shown."""

    html: str


# Models that the pages send


class MarkChange(_Sent):
    """A mark: ``points`` as a number, or None, and then saved comments and ``adjustment`` count.

    With neither points nor adjustment nor a saved comment that has points, the mark is taken back.
    """

    points: _Points | None = None
    adjustment: _Points | None = None
    saved: list[_Identifier] = Field(default=[], max_length=_MOST_SAVED)
    comment: _Text = ""
    reason: _Text = ""
    version: Annotated[str, Field(max_length=100)]
    to: Literal["answer", "group"] = "answer"


class GroupChange(_Sent):
    """Whether an answer is marked apart from the equal ones."""

    separate: bool


class Undo(_Sent):
    """The version of the mark whose last change is to be taken back."""

    version: Annotated[str, Field(max_length=100)]


class NewComment(_Sent):
    """A comment for the bank of a question."""

    text: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
    points: _Points | None = None
    position: Annotated[int, Field(ge=0, le=10_000)] | None = None


class CommentChange(_Sent):
    """A saved comment; ``version`` is that of the one looked at."""

    text: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
    points: _Points | None = None
    position: Annotated[int, Field(ge=0, le=10_000)]
    version: int


class RubricChange(_Sent):
    """From where the points of saved comments count."""

    starts_at: Literal["zero", "full"]


class AnnotationChange(_Sent):
    """An annotation: ``question`` is a key, ``text`` may be empty if a saved comment is named.

    A change names the ``version`` that was looked at, a new one the ``submission``.
    """

    question: Annotated[str, Field(max_length=1000)] = ""
    cell: Annotated[int, Field(ge=0, le=100_000)]
    first_line: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    last_line: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    text: _Text = ""
    saved_comment: _Identifier | None = None
    version: int | None = None
    submission: Annotated[str, Field(max_length=64)] | None = None


class Text(_Sent):
    """A comment to render."""

    text: _Text
