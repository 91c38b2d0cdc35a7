"""The runtime library for notebooks: checks, marks, hints and word counts.

It runs in the process of student code, in every notebook's own environment and in Pyodide, so it
uses the standard library and marimo only; of ours it imports the other modules of the slim
wheel, ``mograder.judging``, ``mograder.marks`` and ``mograder.remote`` (decision 19; signatures and
sidecar lines: compatibility-0.3.16.md 8). Authors write::

    grader = Grader({"Q1": 10, "Q2": 15})
    check = grader.check

and then ``check("Q1: the mean", [(mean == 4, "the mean should be 4")])``. A check gives a result
for any value of a student, also NaN or an array; a condition that may raise is written lazily,
``(lambda: mean(data) == 4, "the mean should be 4")``.
"""

from __future__ import annotations

import ast
import html
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import marimo as mo

from mograder.judging import (
    Check,
    Outcome,
    Result,
    Status,
    judge,
    plain_text,
    report,
    write_sidecar,
)
from mograder.marks import (
    Weights,
    marks_of_weight,
    question_marks,
    question_weight,
    sum_of_marks,
)
from mograder.remote import fetch, status, submit

try:
    from marimo._runtime.state import State
except ImportError:  # marimo moved it: scores() works, but is not refreshed

    class State:  # type: ignore[no-redef]
        """A value without observers."""

        def __init__(self, value: object) -> None:
            self._value = value

        def _set_value(self, value: object) -> None:
            self._value = value


# The names of a star import in 0.3.16; the two word counters are imported by name
# (compatibility-0.3.16.md 8).
__all__ = ["Grader", "check", "fetch", "hint", "status", "submit"]

_Kind: TypeAlias = Literal["success", "info", "danger", "warn"]

_HIDDEN_TESTS = re.compile(rb"^#\s*mograder-hidden-tests\s*=\s*true\s*$", re.MULTILINE)
_HEAD_BYTES, _MOST_SHOWN = 4096, 25
# By status: a symbol, the text of the box, the text of the score table.
_WORDS: Mapping[Status, tuple[str, str, str]] = {
    "success": ("✓", "all checks passed", "PASS"),
    "partial": ("◐", "some checks failed:", "PARTIAL"),
    "danger": ("✗", "some checks failed:", "FAIL"),
    "warn": ("…", "waiting for your code", "—"),
}
# As wide as the box; a student's very long value wraps instead of widening the page.
_PROSE = 'class="markdown prose dark:prose-invert" style="max-width:none;overflow-wrap:anywhere"'
# The marks are in the corner, even if the label wraps; screen readers read them after it.
_ROW = 'style="display:flex;justify-content:space-between;align-items:baseline;gap:1em"'
_TOGETHER = 'style="white-space:nowrap"'
_LEFT = 'style="text-align:left"'
# A small inline syntax instead of Markdown, since the text may contain a student's value.
_INLINE = re.compile(
    r"(?P<ticks>`+)(?P<code>.+?)(?P=ticks)"
    r"|\*\*(?P<bold>\S(?:.*?\S)?)\*\*"
    r"|\$(?P<math>[^\s$](?:[^$\n]*[^\s$])?)\$(?!\d)"
)
_MATHS_SPAN = re.compile(r"\$\$.*?\$\$|\$[^$]*\$", re.DOTALL)
_NEAR_TARGET, _GREEN, _AMBER, _RED = 100, "#2e8b57", "#e08e0b", "#d9363e"


def check(label: str, checks: Sequence[Check]) -> mo.Html:
    """Show whether the conditions of one question hold, and record the result for the grader.

    An empty list means that there is nothing to judge yet ("waiting for your code").

    Raises:
        ValueError: an entry is not ``(condition, message[, weight])``: the author's mistake.
    """
    result = judge(label, checks)
    write_sidecar(result)
    report(result)
    return _box(result, "danger" if result.status == "partial" else result.status)


class Grader(State):  # type: ignore[type-arg,unused-ignore]
    """Marks per question, and a score table that is updated by the checks.

    It is itself a marimo state: a cell that names the grader (``grader.scores()``) runs again when
    a mark changes, while cells that only use ``check = grader.check`` do not.
    """

    _value: dict[str, Result]  # by label

    def __init__(self, marks: Mapping[str, float]) -> None:
        """Store the marks available by question key, the text before a label's first colon."""
        super().__init__({})
        self.marks = marks
        self._hides_marks = _has_hidden_tests(sys._getframe(1).f_globals)

    def __repr__(self) -> str:
        return f"Grader({self.marks!r})"

    def check(self, label: str, checks: Sequence[Check]) -> mo.Html:
        """Show a check like :func:`check`, with its marks, and count it in the score.

        The last check of a label counts, and all labels of a key together earn the question's
        marks. If the notebook has hidden tests, marks are not shown, since they are not final.
        """
        result = judge(label, checks)
        write_sidecar(result)
        report(result)
        self._remember(result)
        available = None if self._hides_marks else self.marks.get(result.key)
        marks = None if available is None else _Marks(available, self._results(result.key))
        return _box(result, "info" if result.status == "partial" else result.status, marks)

    def scores(self) -> mo.Html:
        """Show the table of marks earned so far, or a notice when hidden tests exist."""
        if self._hides_marks:
            return mo.callout("Scores will be available in your feedback after grading.")
        rows, marks = [], []
        for question, available in self.marks.items():
            results = self._results(question)
            marks.append(_Marks(available, results).earned)
            verdict = _WORDS[_combined(results)][2]
            rows.append((_inline(plain_text(question)), verdict, _fraction(marks[-1], available)))
        total, everything = sum_of_marks(marks), sum(self.marks.values())
        rows.append(("<strong>Total</strong>", "", _fraction(total, everything)))
        full = math.isclose(total, everything, abs_tol=0.05)
        return mo.callout(mo.Html(_table(rows)), kind="success" if full else "neutral")

    def _results(self, key: str) -> Sequence[Result]:
        """Return the last result of each label of a question."""
        return [result for result in self._value.values() if result.key == key]

    def _remember(self, result: Result) -> None:
        # Setting a state makes its readers run again, so it is set only if it differs: otherwise
        # a score cell that also checks something would run again without end.
        if self._value.get(result.label) != result:
            self._set_value({**self._value, result.label: result})


@dataclass(frozen=True, slots=True)
class _Marks:
    """The marks of a question, and the results of its labels."""

    available: float
    results: Sequence[Result]

    @property
    def earned(self) -> float:
        return question_marks(self.available, self._weights())

    def worth(self, weight: float) -> float:
        """Return the marks that a weight is worth, to one decimal."""
        return marks_of_weight(self.available, weight, question_weight(self._weights()))

    def _weights(self) -> Mapping[str, Weights]:
        return {
            result.label: Weights(result.earned, result.total, result.status == "success")
            for result in self.results
        }


def _combined(results: Sequence[Result]) -> Status:
    statuses = {result.status for result in results} or {"warn"}
    if len(statuses) == 1:
        return statuses.pop()
    return "partial" if any(result.earned > 0 for result in results) else "danger"


def hint(*texts: str) -> mo.Html:
    """Show hints (Markdown), collapsed and one below the other."""
    names = ["Hint"] if len(texts) == 1 else [f"Hint {n}" for n in range(1, len(texts) + 1)]
    return mo.accordion({name: mo.md(text) for name, text in zip(names, texts, strict=True)})


def count_response_words(source: str, cell: str = "written_analysis") -> int | None:
    """Count the words of the written answer in a notebook's text; a formula counts as one.

    The answer is the longest string in the cell of that name. ``None``: there is no such cell.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # the file is being saved
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == cell:
            constants = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
            answer = max((c for c in constants if isinstance(c, str)), key=len, default="")
            return len(_MATHS_SPAN.sub(" formula ", answer).split())
    return None


class _Readable(Protocol):
    def read_text(self) -> str: ...


def word_count(
    notebook_file: str | Path | _Readable,
    cell: str = "written_analysis",
    target: tuple[int, int] = (300, 500),
) -> mo.Html:
    """Show the length of a written answer: green within the target, amber near it, else red.

    Pass the notebook as ``mo.watch.file(__file__)``, so that the count is updated with every save.
    """
    count = count_response_words(_read(notebook_file), cell)
    if count is None:
        return mo.Html(f"<p><em>Word count unavailable: no cell named {_inline(cell)}.</em></p>")
    low, high = target
    beyond = max(low - count, count - high, 0)
    colour = _GREEN if not beyond else _AMBER if beyond <= _NEAR_TARGET else _RED
    verdict = f"{beyond} too {'few' if count < low else 'many'}" if beyond else "within the target"
    # The colour is only a border, and the text has the same meaning: readable in both themes.
    return mo.Html(
        f'<p role="status" style="border-left:0.4em solid {colour};padding-left:0.6em">'
        f"<strong>Word count: {count}</strong>, {verdict} "
        f"(target: {low}–{high}; updates when the notebook is saved)</p>"
    )


def _box(result: Result, kind: _Kind, marks: _Marks | None = None) -> mo.Html:
    icon, sentence, _ = _WORDS[result.status]
    badge = ""
    if marks is not None:
        earned = _fraction(marks.earned, marks.available)
        badge = f" <code {_TOGETHER}>[{earned} marks]</code>"
    mark = f'<span aria-hidden="true">{icon} </span>'
    said = f"{mark}<strong>{_inline(result.label)}</strong> — {sentence}"
    body = f"<div {_ROW}><span>{said}</span>{badge}</div>"
    if result.failures:
        shown = [_failure(failure, result, marks) for failure in result.failures[:_MOST_SHOWN]]
        if len(result.failures) > _MOST_SHOWN:
            shown.append(f"… and {len(result.failures) - _MOST_SHOWN} more")
        items = "".join(f"<li>{item}</li>" for item in shown)
        body += f'<ul style="margin:0.5em 0">{items}</ul>'
    if result.status == "partial":
        count = len(result.outcomes)
        passed = f"{count - len(result.failures)} of {count} checks passed"
        body += f"<div>{passed}{_worth(result.earned, result, marks)}.</div>"
    # A status region: screen readers announce the new result when a student's cell has run.
    return mo.callout(
        mo.Html(f'<div {_PROSE} role="status" aria-atomic="true">{body}</div>'), kind=kind
    )


def _failure(failure: Outcome, result: Result, marks: _Marks | None) -> str:
    # On a line of its own, since a message often ends in code too.
    reason = f"<br /><code>{html.escape(failure.reason)}</code>" if failure.reason else ""
    return f"{_inline(failure.message)}{_worth(failure.weight, result, marks)}{reason}"


def _worth(weight: float, result: Result, marks: _Marks | None) -> str:
    """Return the marks or the share that a weight is worth, as HTML; empty if all weights are 1."""
    if marks is not None:
        told = f"{_number(marks.worth(weight))} of {_number(marks.available)} marks"
    elif any(outcome.weight != 1 for outcome in result.outcomes):
        told = f"weight {_number(weight)} of {_number(result.total)}"
    else:
        return ""
    return f" <span {_TOGETHER}>({told})</span>"


def _table(rows: Sequence[tuple[str, str, str]]) -> str:
    names = ("Question", "Status", "Marks")
    head = "".join(f'<th scope="col" {_LEFT}>{name}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row" {_LEFT}>{name}</th>{_cell(verdict)}{_cell(marks)}</tr>'
        for name, verdict, marks in rows
    )
    return (
        f'<div {_PROSE}><h2 style="margin-top:0">Your Score</h2>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    # Screen readers skip a dash.
    said = ' aria-label="waiting"' if text == _WORDS["warn"][2] else ""
    return f"<td {_LEFT}{said}>{text}</td>"


def _fraction(earned: float, available: float) -> str:
    return f"{_number(earned)}/{_number(available)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(round(value, 2))


def _inline(text: str) -> str:
    """Return a text as escaped HTML, in which only `code`, **bold** and $maths$ are rendered."""
    return _INLINE.sub(_marked, html.escape(text)).replace("\n", "<br />")


def _marked(match: re.Match[str]) -> str:
    if match["code"] is not None:
        return f"<code>{match['code']}</code>"
    if match["bold"] is not None:
        return f"<strong>{match['bold']}</strong>"
    # The element that mo.md renders for a formula.
    return f'<marimo-tex class="arithmatex">||({match["math"]}||)</marimo-tex>'


def _read(notebook_file: str | Path | _Readable) -> str:
    try:
        # A watched file has a path; on Windows its own read_text does not read UTF-8.
        if isinstance(notebook_file, str | os.PathLike):
            return Path(os.fspath(notebook_file)).read_text(encoding="utf-8")
        return notebook_file.read_text()
    except (OSError, UnicodeDecodeError):  # not saved yet, or being saved
        return ""


def _has_hidden_tests(notebook_globals: Mapping[str, object]) -> bool:
    """Whether the notebook that creates the grader states that it has hidden tests."""
    path = notebook_globals.get("__file__")
    if not isinstance(path, str):
        return False
    try:
        with Path(path).open("rb") as notebook:
            return _HIDDEN_TESTS.search(notebook.read(_HEAD_BYTES)) is not None
    except (OSError, ValueError):
        return False
