"""The questions of a notebook that are still as they were handed out."""

from __future__ import annotations

from mograder.notebook.integrity.unanswered import unanswered
from tests.support.notebooks import notebook

RELEASE = notebook(
    '''
    mo.md(r"""
    ## Question 1: a sum

    Add them up.
    """)
    ''',
    "# YOUR CODE HERE\ntotal = ...",
    'check("Q1: the sum", [])',
    'mo.md("### Newton\'s method")',
    """
    @app.cell
    def written_analysis(mo):
        mo.md("*Write your answer here.*")
        return
    """,
    "# YOUR CODE HERE\nrest = ...",
)


def test_questions_are_named_by_their_check_or_the_heading_above() -> None:
    found = unanswered(RELEASE, RELEASE, "A1.py")
    assert found == ("Q1", "Newton's method")


def test_an_answer_that_was_changed_is_answered() -> None:
    work = RELEASE.replace("total = ...", "total = 5").replace("*Write your answer here.*", "It.")
    assert unanswered(work, RELEASE, "A1.py") == ("Newton's method",)
    work = work.replace("rest = ...", "rest = 5")
    assert unanswered(work, RELEASE, "A1.py") == ()
