"""A small assignment with two questions, and students' answers to it."""

from __future__ import annotations

RELEASE = """import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    from mograder.runtime import Grader
    return Grader, mo


@app.cell
def _(Grader):
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 5}
    grader = Grader(_marks)
    check = grader.check
    return check, grader


@app.cell
def _():
    # YOUR CODE HERE
    ANSWER
    return (x,)


@app.cell
def _(check, x):
    check("Q1: one", [(x == 1, "not one")])
    return


@app.cell
def _(check, x):
    check("Q2: two", [(lambda: x + 1 == 2, "not two"), (x > 5, "small")])
    return


@app.cell
def _(grader):
    grader.scores()
    return


if __name__ == "__main__":
    app.run()
"""


def with_answer(*lines: str) -> str:
    """The release with these lines as the answer."""
    return RELEASE.replace("    ANSWER\n", "".join(f"    {line}\n" for line in lines))


UNANSWERED = with_answer("x = 0")
