"""A small assignment with two questions, and students' answers to it."""

from __future__ import annotations

from tests.support.notebooks import notebook


def with_answer(*lines: str) -> str:
    """The release with these lines as the answer."""
    text = notebook(
        "import marimo as mo\nfrom mograder.runtime import Grader",
        """
        # === MOGRADER: MARKS ===
        _marks = {"Q1": 10, "Q2": 5}
        grader = Grader(_marks)
        check = grader.check
        """,
        "# YOUR CODE HERE\nx = ...",
        'check("Q1: one", [(x == 1, "not one")])',
        'check("Q2: two", [(lambda: x + 1 == 2, "not two"), (x > 5, "small")])',
        "grader.scores()",
    )
    return text.replace("    x = ...\n", "".join(f"    {line}\n" for line in lines))


UNANSWERED = with_answer("x = 0")
