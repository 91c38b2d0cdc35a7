"""The lines in which a judge reports the trials of an author's checks."""

from __future__ import annotations

import json

import pytest

from mograder.sandbox.execution.judging import (
    CrashedCheck,
    NeverFailed,
    PassedJunk,
    RehearsalReport,
    UnsteadyLabel,
    read_rehearsal,
)

ANSWERS = {"kind": "rehearsal answers", "answers": [["x", "float"], ["f", "(n) → number"]]}
AGAIN = {"kind": "rehearsal again", "cell": 3, "label": "Q1", "message": "far"}
JUNK = {
    "kind": "rehearsal junk",
    "cell": 4,
    "labels": ["Q2"],
    "name": "x",
    "junk": "nan",
    "words": "is NaN",
}
CRASH = {"kind": "rehearsal crash", "cell": 4, "name": "x", "words": "is 0"}
NEVER = {"kind": "rehearsal never", "cell": 4, "label": "Q2", "message": "there"}
END = {"kind": "rehearsal end", "done": 2, "trials": 5, "missed": [4]}


def lines(*told: object) -> list[str]:
    return [json.dumps(each) for each in told]


def test_the_trials_are_taken_out_of_the_other_lines() -> None:
    others = lines({"kind": "given"}, {"kind": "end"})
    report, rest = read_rehearsal(
        [others[0], *lines(ANSWERS, AGAIN, JUNK, CRASH, NEVER, END), others[1]]
    )
    assert rest == others
    assert report == RehearsalReport(
        {"x": "float", "f": "(n) → number"},
        (UnsteadyLabel(3, "Q1", "far"),),
        (PassedJunk(4, "x", "nan", "is NaN", ("Q2",)),),
        (NeverFailed(4, "Q2", "there"),),
        2,
        5,
        (4,),
        (CrashedCheck(4, "x", "is 0"),),
    )


def test_a_report_without_trials_is_left_as_it_is() -> None:
    assert read_rehearsal(lines({"kind": "end"})) == (None, ['{"kind": "end"}'])


@pytest.mark.parametrize(
    "told",
    [
        (ANSWERS,),
        ({**JUNK, "more": 1}, END),
        ({**AGAIN, "cell": "3"}, END),
        ({"kind": "rehearsal of another version"}, END),
    ],
)
def test_anything_else_is_refused(told: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r" at |end of the rehearsal"):
        read_rehearsal(lines(*told))
