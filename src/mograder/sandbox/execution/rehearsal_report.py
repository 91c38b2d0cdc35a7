"""The lines in which a judge reports the trials of an author's checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mograder.sandbox.execution.judging import (
    NeverFailed,
    PassedJunk,
    RehearsalReport,
    UnsteadyLabel,
)

_BEGIN = '{"kind": "rehearsal '
_Text = Annotated[str, Field(max_length=2000)]


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Answers(_Words):
    kind: Literal["rehearsal answers"]
    answers: list[tuple[_Text, _Text]]


class _Again(_Words):
    kind: Literal["rehearsal again"]
    cell: int
    label: _Text
    message: _Text


class _Junk(_Words):
    kind: Literal["rehearsal junk"]
    cell: int
    labels: list[_Text]
    name: _Text
    junk: _Text
    words: _Text


class _Never(_Words):
    kind: Literal["rehearsal never"]
    cell: int
    label: _Text
    message: _Text


class _End(_Words):
    kind: Literal["rehearsal end"]
    done: int
    trials: int
    missed: list[int]


_LINE: TypeAdapter[_Answers | _Again | _Junk | _Never | _End] = TypeAdapter(
    Annotated[_Answers | _Again | _Junk | _Never | _End, Field(discriminator="kind")]
)


def read_rehearsal(lines: Iterable[str]) -> tuple[RehearsalReport | None, list[str]]:
    """Return the trials in a judge's report, None if there were none, and its other lines.

    Raises: :class:`ValueError` with what is wrong.
    """
    own: list[str] = []
    others: list[str] = []
    for line in lines:
        (own if line.startswith(_BEGIN) else others).append(line)
    try:
        told = [_LINE.validate_json(line) for line in own]
    except ValidationError as error:
        where = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{where['msg']} at {where['loc']}") from None
    if not told:
        return None, others
    if not isinstance(told[-1], _End):
        raise ValueError("the end of the rehearsal is missing")
    answers = [pair for each in told if isinstance(each, _Answers) for pair in each.answers]
    report = RehearsalReport(
        dict(answers),
        tuple(UnsteadyLabel(e.cell, e.label, e.message) for e in told if isinstance(e, _Again)),
        tuple(
            PassedJunk(e.cell, e.name, e.junk, e.words, tuple(e.labels))
            for e in told
            if isinstance(e, _Junk)
        ),
        tuple(NeverFailed(e.cell, e.label, e.message) for e in told if isinstance(e, _Never)),
        told[-1].done,
        told[-1].trials,
        tuple(told[-1].missed),
    )
    return report, others
