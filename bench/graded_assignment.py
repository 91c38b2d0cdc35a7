"""One small assignment with the same checks in two forms: our source, and a notebook of nbgrader's.

Three questions, nine conditions, no packages but marimo's: what is measured is grading.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from textwrap import indent
from typing import Any

NAME = "graded"
_MARKS = 10
_HEADER = (
    '# /// script\n# requires-python = ">=3.11"\n# dependencies = ["marimo", "mograder"]\n# ///\n'
)
_NBGRADER_METADATA = {"schema_version": 3, "task": False}


@dataclass(frozen=True, slots=True)
class Question:
    """A question: the name that students define, the author's code for it, and its conditions."""

    key: str
    name: str
    solution: str
    conditions: tuple[str, ...]


QUESTIONS = (
    Question(
        "Q1",
        "squares",
        "squares = [number * number for number in range(10)]",
        ("len(squares) == 10", "squares[3] == 9", "sum(squares) == 285"),
    ),
    Question(
        "Q2",
        "mean",
        "def mean(values):\n    return sum(values) / len(values)",
        ("mean([4.0]) == 4", "mean([1, 2, 6]) == 3", "abs(mean([0.1] * 3) - 0.1) < 1e-12"),
    ),
    Question(
        "Q3",
        "count_words",
        "def count_words(text):\n"
        "    counts = {}\n"
        "    for word in text.split():\n"
        "        counts[word] = counts.get(word, 0) + 1\n"
        "    return counts",
        (
            'count_words("") == {}',
            'count_words("a b a") == {"a": 2, "b": 1}',
            'sorted(count_words("one two two")) == ["one", "two"]',
        ),
    ),
)


def source_text() -> str:
    """Return the author's notebook for ``mograder generate``."""
    marks = {question.key: _MARKS for question in QUESTIONS}
    first = (
        "from mograder.runtime import check\n\n"
        f"# === MOGRADER: MARKS ===\n_marks = {json.dumps(marks)}"
    )
    cells = [_cell("", first, "return (check,)")]
    for question in QUESTIONS:
        solution = f"### BEGIN SOLUTION\n{question.solution}\n### END SOLUTION"
        cells.append(_cell("", solution, f"return ({question.name},)"))
        listed = "\n".join(f"(lambda: {text}, {text!r})," for text in question.conditions)
        waiting = f"[] if {question.name} is ... else [\n{indent(listed, '    ')}\n]"
        code = f'check("{question.key}: {question.name}", {waiting})'
        cells.append(_cell(f"check, {question.name}", code, "return"))
    return (
        f"{_HEADER}\nimport marimo\n\napp = marimo.App()\n\n\n{''.join(cells)}"
        'if __name__ == "__main__":\n    app.run()\n'
    )


def submission_text(release: str, number: int) -> str:
    """Return a student's notebook: the release with the author's answers, and a comment."""
    for question in QUESTIONS:
        blank = f"    {question.name} = ...\n    # YOUR CODE HERE\n    pass\n"
        if blank not in release:
            raise AssertionError(f"the release has no place for {question.name}:\n{release}")
        release = release.replace(blank, indent(question.solution, "    ") + "\n")
    return f"{release}# student {number}\n"


def nbgrader_source() -> str:
    """Return the same assignment as a notebook for ``nbgrader generate_assignment``."""
    cells = []
    for question in QUESTIONS:
        solution = f"### BEGIN SOLUTION\n{question.solution}\n### END SOLUTION"
        cells.append(_code_cell(f"answer-{question.key}", solution, grade=False))
        asserts = "\n".join(f"assert {text}" for text in question.conditions)
        cells.append(_code_cell(f"test-{question.key}", asserts, grade=True))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1)


def nbgrader_submission(number: int) -> str:
    """Return a student's notebook: the same answers as :func:`submission_text`."""
    notebook = json.loads(nbgrader_source())
    for cell in notebook["cells"]:
        lines = [line for line in cell["source"] if not line.startswith("###")]
        cell["source"] = [*lines, f"\n# student {number}"]
    return json.dumps(notebook, indent=1)


def _cell(parameters: str, code: str, ending: str) -> str:
    body = indent(f"{code}\n{ending}", "    ")
    return f"@app.cell\ndef _({parameters}):\n{body}\n\n\n"


def _code_cell(name: str, code: str, *, grade: bool) -> dict[str, Any]:
    told = {**_NBGRADER_METADATA, "grade": grade, "solution": not grade, "locked": grade}
    points = {"points": _MARKS} if grade else {}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {"nbgrader": {**told, **points, "grade_id": name}},
        "outputs": [],
        "source": code.splitlines(keepends=True),
    }
