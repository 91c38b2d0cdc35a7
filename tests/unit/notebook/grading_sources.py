"""Small sources for the tests of the plan of grading."""

from __future__ import annotations

import textwrap

from mograder.notebook.findings import Finding
from mograder.notebook.grading.grading_plan import GradingPlan, Part
from mograder.notebook.grading.grading_split import PlannedSource, plan_source

NAME = "hw.py"
IMPORTS = "import marimo as mo\nimport numpy as np\nfrom mograder.runtime import check, Grader"
MARKS = '# === MOGRADER: MARKS ===\n_marks = {"Q1": 10, "Q2": 5}\ngrader = Grader(_marks)'


def solved(*lines: str) -> str:
    """A solution block with these lines."""
    return "\n".join(["### BEGIN SOLUTION", *lines, "### END SOLUTION"])


def hidden(*lines: str) -> str:
    """A block of hidden tests with these lines."""
    return "\n".join(["### BEGIN HIDDEN TESTS", *lines, "### END HIDDEN TESTS"])


def named(name: str, body: str, options: str = "") -> str:
    return f"@app.cell{options}\ndef {name}():\n{textwrap.indent(body, '    ')}\n    return\n"


def source(*cells: str) -> str:
    """A source with these cells: whole ones with their decorator, or bodies."""
    whole = (
        each if each.startswith(("@app", "app.", "with app")) else named("_", each)
        for each in cells
    )
    return "import marimo\n\napp = marimo.App()\n\n\n" + "\n\n".join(whole)


def planned(*cells: str) -> PlannedSource:
    return plan_source(source(*cells), NAME)


def roles(plan: GradingPlan) -> list[str]:
    return [cell.role.value for cell in plan.cells]


def labels(parts: tuple[Part, ...]) -> list[list[str | None]]:
    """The labels of each check among the parts."""
    return [[each.label for each in part.check.labels] for part in parts if part.check]


def places(parts: tuple[Part, ...]) -> list[int]:
    """The cells of parts."""
    return [part.cell for part in parts]


def answers(plan: GradingPlan) -> list[str]:
    """The names that cross."""
    return [answer.name for answer in plan.answers]


def told(findings: tuple[Finding, ...]) -> str:
    """The findings, a line each."""
    return "\n".join(map(str, findings))
