"""``mograder new``: a course with working examples, and new items in a course.

The notebooks run as they are, with comments that explain; comments inside solutions are for the
author only, and students may read all others. Existing files are never overwritten.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

from mograder.core.names import ItemName
from mograder.core.settings import FILE_NAME
from mograder.sandbox.environments.runtime_wheel import offer_runtime
from mograder.store.course.course import write_new

FIRST_ASSIGNMENT = ItemName.parse("A1-First-Steps")
"""The assignment of a new course."""

FIRST_LECTURE = ItemName.parse("L01-Welcome")
"""The lecture of a new course."""

_RUNTIME = "../../.mograder/runtime"
"""The directory of our wheel for notebooks, relative to a notebook's in a course with default
directories."""

_HEADER = """\
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "marimo",
#     "mograder",
# ]
{more}#
# # Where `uv run` and `marimo edit --sandbox` take mograder from: PyPI has another by that name.
# [[tool.uv.index]]
# name = "mograder"
# url = {runtime}
# format = "flat"
# explicit = true
#
# [tool.uv.sources]
# mograder = {{ index = "mograder" }}
# ///

import marimo

__generated_with = "{marimo}"
app = marimo.App(width="medium")


"""

_END = """

if __name__ == "__main__":
    app.run()
"""

_ASSIGNMENT = '''\
@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # {title}

    Write your code where it says **YOUR CODE HERE**; replace the `...` and the `pass`. The box
    below a task tells how you are doing. Try as often as you like.
    """)
    return


@app.cell(hide_code=True)
def _():
    import marimo as mo

    from mograder.runtime import Grader, hint

    # === MOGRADER: MARKS ===
    # What each question is worth. A check belongs to the question that its label begins with.
    _marks = {{"Q1": 5, "Q2": 5, "Analysis": 10}}
    grader = Grader(_marks)
    check = grader.check

    def unanswered(function, *arguments):
        """Whether a function still returns its placeholder; an error is an answer, too."""
        try:
            answer = function(*arguments)
        except Exception:
            return False
        return answer is None or answer is ...

    return check, grader, hint, mo, unanswered


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 1: a sum (5 marks)

    Let `total` be the sum of all numbers from 1 to 100.
    """)
    return


@app.cell
def _():
    ### BEGIN SOLUTION
    # All between these marks is taken out for students, comments as well. The names that the
    # cell returns become `...`, so that the notebook still runs.
    total = sum(range(1, 101))
    ### END SOLUTION
    return (total,)


@app.cell(hide_code=True)
def _(check, total):
    # An empty list waits for an answer. A condition that may fail is written as a lambda.
    check(
        "Q1: The sum",
        []
        if total is ...
        else [
            (lambda: total == sum(range(101)), "the sum is not right yet"),
        ],
    )
    return


@app.cell(hide_code=True)
def _(hint):
    hint(
        "`range(1, 101)` holds the numbers, and `sum` adds them up."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 2: a function (5 marks)

    Write a function `mean(numbers)` that returns the mean of a list of numbers.
    """)
    return


@app.function
def mean(numbers):
    ### BEGIN SOLUTION
    result = sum(numbers) / len(numbers)
    ### END SOLUTION
    return result


@app.cell(hide_code=True)
def _(check, unanswered):
    check(
        "Q2: The mean",
        []
        if unanswered(mean, [1])
        else [
            (lambda: mean([1, 2, 3]) == 2, "the mean of 1, 2 and 3 is 2"),
            (lambda: mean([5]) == 5, "a single number is its own mean"),
            ### BEGIN HIDDEN TESTS
            # Hidden tests come back when the work is marked; a last number is a weight.
            (lambda: mean([-2, 0, 5]) == 1, "negative numbers count, too", 2),
            ### END HIDDEN TESTS
        ],
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Written analysis (10 marks)

    When does the mean say little about the numbers? Write two or three sentences:
    double-click the text below.
    """)
    return


@app.cell
def written_analysis(mo):
    response_text = "*Write your answer here.*"
    ### BEGIN SOLUTION
    # For whoever marks: what a good answer says. Students get the line above as their text.
    response_text = "When a few numbers are far larger than all others, as with incomes."
    ### END SOLUTION
    mo.md(response_text)
    return


@app.cell(hide_code=True)
def _(grader):
    grader.scores()
    return
'''
_LECTURE = '''\
@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # {title}

    Everything on this page is alive: move the slider, and the sentence below follows.
    """)
    return


@app.cell(hide_code=True)
def _():
    import marimo as mo

    return (mo,)


@app.cell(hide_code=True)
def _(mo):
    count = mo.ui.slider(1, 100, value=10, label="How many numbers?")
    count
    return (count,)


@app.cell(hide_code=True)
def _(count, mo):
    mo.md(f"The numbers from 1 to {{count.value}} add up to {{sum(range(count.value + 1))}}.")
    return
'''
_LINK = '''

@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Now you

    Continue with [the first assignment](../{name}/{name}.py).
    """)
    return
'''
_SETTINGS = """\
# The settings of this course. Every key may be left out; `mograder config show` tells what is in
# force and where each value came from.

title = {title}

[dirs]
source = "source"    # what you write: notebooks with solutions and hidden tests
release = "release"  # what students get: `mograder generate` makes it of the sources

[defaults]
timeout = 120        # seconds that one notebook may run when it is checked
"""


def new_course(directory: Path) -> tuple[Path, ...]:
    """Create a course in a directory, which may exist; return the files that were written.

    Raises:
        Conflict: One of the files exists already; nothing is written then.
        InvalidInput: The directory cannot be made or written to.
        SandboxUnavailable: Our wheel for notebooks cannot be written.
    """
    marimo, title = version("marimo"), _title(directory.resolve().name)
    assignment, lecture = FIRST_ASSIGNMENT, FIRST_LECTURE
    source = directory / "source"
    link = lecture_text("Lecture 1: Welcome", marimo=marimo, assignment=assignment)
    written = write_new(
        {
            directory / FILE_NAME: _SETTINGS.format(title=_quoted(title)),
            source / assignment / f"{assignment}.py": assignment_text(
                "Assignment 1: First steps", marimo=marimo
            ),
            source / lecture / f"{lecture}.py": link,
        }
    )
    offer_runtime(directory / ".mograder" / "runtime")
    return written


def new_item(
    name: ItemName, sources: Path, runtime: Path, *, lecture: bool = False
) -> tuple[Path, ...]:
    """Create an assignment or a lecture in a course; return the files that were written.

    ``runtime`` is the course's directory for our wheel, which is put there.

    Raises: as :func:`new_course`.
    """
    make = lecture_text if lecture else assignment_text
    seen = os.path.relpath(runtime, sources / name)
    made = make(_title(name), marimo=version("marimo"), runtime=seen)
    written = write_new({sources / name / f"{name}.py": made})
    offer_runtime(runtime)
    return written


def _title(name: str) -> str:
    return name.replace("-", " ").replace("_", " ").strip() or "A course"


def assignment_text(title: str, *, marimo: str, runtime: str = _RUNTIME) -> str:
    """``runtime`` is the directory of our wheel for notebooks, relative to the notebook's."""
    head = _HEADER.format(more="", marimo=marimo, runtime=_quoted(runtime))
    return head + _ASSIGNMENT.format(title=_safe(title)) + _END


def lecture_text(title: str, *, marimo: str, assignment: str = "", runtime: str = _RUNTIME) -> str:
    """Return the source of a lecture that links to an assignment, if there is one."""
    more = '# mograder-type = "lecture"\n'
    head = _HEADER.format(more=more, marimo=marimo, runtime=_quoted(runtime))
    link = _LINK.format(name=assignment) if assignment else ""
    return head + _LECTURE.format(title=_safe(title)) + link + _END


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _safe(title: str) -> str:
    """Return a title on one line, without triple quotes and backslashes."""
    return " ".join(title.replace('"""', "").replace("\\", "").split())
