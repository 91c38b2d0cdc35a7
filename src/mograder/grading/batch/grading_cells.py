"""The two cells that grading adds to a copy of a submission, in the form of 0.3.16; pure.

The first shows the results of the checks, in the second a marker of 0.3.16 writes a mark and a
comment. 0.3.16 finds them by a comment and reads them by regular expressions
(compatibility-0.3.16.md 9), from the first occurrence to the end of the file. So the student's text
must not contain these comments and names, and nothing of it may come after the cells.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mograder.grading.results.grading_result import GradedLabel, GradedQuestion, GradingResult
from mograder.grading.results.result_row import WORDS, status_of
from mograder.marks import sum_of_marks
from mograder.notebook.points import FEEDBACK, VERIFICATION

_RESERVED: Mapping[str, str] = {
    VERIFICATION: "# === removed: VERIFICATION SUMMARY ===",
    FEEDBACK: "# === removed: MARKER FEEDBACK ===",
    "_mograder_checks": "_removed_checks",
    "_mograder_marks": "_removed_marks",
}
"""Texts that 0.3.16 looks for, and their replacements in a student's text."""

_ENDING = re.compile(r"^if __name__ == ['\"]__main__['\"]:\s+app\.run\(\)\Z", re.MULTILINE)
_ENDING_AT_MOST = 100
"""Characters to search for the ending, so that a long file costs no time."""

_LAST_LINES = 'if __name__ == "__main__":\n    app.run()\n'
_NOTHING = "import marimo\n\napp = marimo.App()\n"
"""The notebook that takes the place of a submission that cannot be read."""

_UNREADABLE = str.maketrans('"[]{}\\', "'()()/")
"""Characters at which 0.3.16's regular expressions end a label or a key."""

_CELLS = """\
@app.cell(hide_code=True)
def _():
    {verification}
    import marimo as _mo

    _mograder_checks = [{checks}]
    {marks}_cell_errors = {cell_errors}
    _rows = [
        {{"Check": _label, "Result": _status, "Earned": _earned, "Of": _total}}
        for _label, _status, _earned, _total in _mograder_checks
    ]
    _mo.vstack(
        [
            _mo.md("## Verification Summary"),
            _mo.ui.table(_rows, selection=None) if _rows else _mo.md("No checks."),
            _mo.md(f"Cells with errors: {{_cell_errors}}"),
        ]
    )
    return


@app.cell
def _():
    {feedback}
    {instructions}
    _mark = None       # e.g. _mark = {available}
    _feedback = ""     # e.g. _feedback = "Good analysis of the DP approach..."
    # --- display (do not edit below) ---
    import marimo as _mo

    _mo.callout(
        _mo.vstack([_mo.md(f"**Mark:** {{_mark}}"), _mo.plain_text(str(_feedback))]),
        kind="neutral" if _mark is None else "success",
    )
    return
"""


@dataclass(frozen=True, slots=True)
class GradingCopy:
    """A submission with the grading cells; ``removed`` lists the text that was taken out of it."""

    text: str
    removed: tuple[str, ...]


def grading_copy(text: str, result: GradingResult) -> GradingCopy:
    """Return a student's text with the grading cells, which marimo shows as the last two."""
    removed = tuple(each for each in _RESERVED if each in text)
    for each in removed:
        text = text.replace(each, _RESERVED[each])
    body = (text or _NOTHING).rstrip()
    body = body[:-_ENDING_AT_MOST] + _ENDING.sub("", body[-_ENDING_AT_MOST:])
    return GradingCopy(f"{body.rstrip()}\n\n\n{_cells(result)}\n\n{_LAST_LINES}", removed)


def _cells(result: GradingResult) -> str:
    entries = [
        f'("{label}", "{status}", {_number(earned)}, {_number(total)})'
        for label, status, earned, total in _entries(result)
    ]
    checks = "".join(f"\n        {entry}," for entry in entries)
    marks = _marks(result)
    return _CELLS.format(
        verification=VERIFICATION,
        feedback=FEEDBACK,
        checks=f"{checks}\n    " if checks else "",
        marks=f"_mograder_marks = {_literal(marks)}\n    " if marks else "",
        cell_errors=len(result.cell_errors),
        instructions="\n    ".join(_instructions(result, marked=bool(marks))),
        available=_short(_manual_marks(result)) if marks else 65,
    )


def _instructions(result: GradingResult, *, marked: bool) -> Iterator[str]:
    if not marked:
        yield "# Set the mark (0-100) and write 2-3 sentences of feedback, then save."
        return
    if result.auto_mark is not None and result.auto_available is not None:
        yield f"# Auto marks: {_short(result.auto_mark)}/{_short(result.auto_available)}"
    manual = _short(_manual_marks(result))
    yield f"# Set _mark for manual questions (out of {manual}), then save."


def _manual_marks(result: GradingResult) -> float:
    return max(sum_of_marks([result.max_mark, -(result.auto_available or 0.0)]), 0.0)


def _marks(result: GradingResult) -> dict[str, float]:
    """Return the marks by question, none while some question has no result.

    0.3.16 adds up what it finds, so it must find either all or nothing.
    """
    if result.auto_mark is None:
        return {}
    known = ((_plain(q.key), q.available) for q in result.questions)
    return {key: available for key, available in known if available is not None}


def _entries(result: GradingResult) -> Iterator[tuple[str, str, float, float]]:
    """Yield label, status, and the two numbers whose ratio is the label's part of its question.

    0.3.16 multiplies each ratio with the marks of the whole question, rounds, and adds up. With
    several labels of a question the numbers are therefore marks, so that the sum is the same.
    """
    labels = {each.label: (each, check) for check in result.checks for each in check.labels}
    for question in result.questions:
        own = [labels[name] for name in question.labels if name in labels]
        shares = _shares(question, [label for label, _ in own])
        for (label, check), (earned, total) in zip(own, shares, strict=True):
            hidden = " (hidden)" if label.hidden else ""
            word = WORDS[status_of(check, label)]
            yield _plain(label.label) + hidden, word, earned, total


def _shares(
    question: GradedQuestion, labels: Sequence[GradedLabel]
) -> Iterator[tuple[float, float]]:
    available, earned = question.available, question.earned
    if available is None or earned is None:
        yield from ((label.earned, label.total) for label in labels)
        return
    left, weight = earned, sum(label.earned for label in labels)
    for label in labels[:-1]:
        share = round(earned * label.earned / weight, 1) if weight > 0 else 0.0
        share = min(share, left)  # many that are rounded up may be more than the whole
        yield share, available
        left = sum_of_marks([left, -share])
    if labels:
        yield left, available


def _plain(text: str) -> str:
    """Return a label or key without what 0.3.16's regular expressions cannot read."""
    printable = (each if each.isprintable() else " " for each in text.translate(_UNREADABLE))
    return "".join(printable).strip() or "?"


def _literal(marks: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{key!r}: {_short(value)}" for key, value in marks.items()) + "}"


def _number(value: float) -> str:
    """Return a number without sign and exponent."""
    return format(Decimal(repr(float(value))), "f") if math.isfinite(value) and value > 0 else "0.0"


def _short(value: float) -> str:
    return _number(value).removesuffix(".0")
