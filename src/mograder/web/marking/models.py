"""The JSON that the pages of marking send; ``answer_json`` makes the one that they read."""

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
