"""The questions of a notebook that are still as they were handed out."""

from __future__ import annotations

import pytest
from marimo._convert.converters import MarimoConvert

from mograder.notebook.version_diff import unanswered
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


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_of_answers_that_were_handed_out_alike_only_the_open_ones_are_told(answered: int) -> None:
    """As of three figures to draw, whose cells give no name to others."""
    blank = "# YOUR CODE HERE\npass"
    checks = [f'check("Q{number}: a figure", [])' for number in range(3)]
    cells = [each for check in checks for each in (blank, check)]
    work = list(cells)
    work[2 * answered] = "# YOUR CODE HERE\nplt.plot(x, y)"
    found = unanswered(notebook(*work), notebook(*cells), "A1.py")
    assert found == tuple(f"Q{number}" for number in range(3) if number != answered)


def test_an_answer_without_a_check_is_not_called_by_that_of_the_next_question() -> None:
    cells = [
        'mo.md("## A figure")',
        "# YOUR CODE HERE\npass",
        'mo.md("## A sum")',
        "# YOUR CODE HERE\ntotal = ...",
        'check("Q2: the sum", [])',
    ]
    release = notebook(*cells)
    assert unanswered(release, release, "A1.py") == ("A figure", "Q2")
    work = release.replace("total = ...", "total = 5")
    assert unanswered(work, release, "A1.py") == ("A figure",)


def test_a_comment_in_the_code_of_a_text_names_no_answer_and_begins_no_question() -> None:
    begin = 'mo.md(r"""\n{}\n```python\n# read the file\n```\n""")'
    release = notebook(
        begin.format("## A figure"),
        "# YOUR CODE HERE\npass",
        'mo.md("## A sum")',
        "# YOUR CODE HERE\ntotal = ...",
        begin.format("It is tested with:"),
        'check("Q2: the sum", [])',
    )
    assert unanswered(release, release, "A1.py") == ("A figure", "Q2")


def test_an_answer_that_nothing_names_is_told_by_its_number() -> None:
    release = notebook("x = 1", "# YOUR CODE HERE\npass")
    assert unanswered(release, release, "A1.py") == ("Cell 2",)


def test_a_text_that_tells_how_to_answer_is_no_question() -> None:
    release = notebook(
        'mo.md(r"""Replace each `# YOUR CODE HERE`.""")',
        "total = ...  # YOUR CODE HERE",
        'check("Q1: the sum", [(total == 5, "replace `# YOUR CODE HERE`")])',
    )
    assert unanswered(release, release, "A1.py") == ("Q1",)
    assert unanswered(release.replace("= ...", "= 5"), release, "A1.py") == ()


@pytest.mark.parametrize("placeholder", ['"""\n# YOUR CODE HERE\npass\n"""', '"# YOUR CODE HERE"'])
def test_a_text_in_which_a_solution_stood_is_a_question(placeholder: str) -> None:
    release = notebook('mo.md("## Why?")', f"mo.md({placeholder})")
    assert unanswered(release, release, "A1.py") == ("Why?",)


def test_an_answer_that_marimo_has_only_saved_in_its_own_form_is_open() -> None:
    release = RELEASE.replace('mo.md("*Write', 'mo.md("<br>*Write')
    saved = MarimoConvert.from_py(release).to_py()
    assert 'mo.md("<br>*Write' not in saved
    assert unanswered(saved, release, "A1.py") == ("Q1", "Newton's method")
