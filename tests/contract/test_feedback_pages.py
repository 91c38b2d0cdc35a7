"""The page of a submission that real sandboxes have run: what it shows, and what it never can."""

from __future__ import annotations

import pytest

from mograder.grading.pages.notebook_page import cells_of_page, render_notebook_page
from mograder.grading.release.feedback import ShownNotebook, render_feedback_page
from mograder.grading.release.feedback_view import Disclosure, GradedWork, Level
from mograder.grading.submissions.grading_result import LastResult
from mograder.store.gradebook.grading_records import QuestionGrade, StudentGrade
from tests.support.fake_judges import SOURCE, answered
from tests.support.grading_rig import GradingRig, rig

__all__ = ["rig"]

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

SPY = """def area(side):
        print("LEAK", side)
        return side ** 2
    import sys as _sys
    for _name, _module in list(_sys.modules.items()):
        print(_name, [k for k in vars(_module) if "hidden" in str(k)][:3])
    print(globals().keys(), open(__file__).read())"""
OUTPUT = """mo.vstack([mo.md("# A *wave*"), mo.callout("careful", kind="warn"), [1, {"a": 2}]])"""
TELLS = answered(
    SOURCE.replace(
        "def _():\n    ### BEGIN SOLUTION\n    def area",
        "def _(mo):\n    ### BEGIN SOLUTION\n    def area",
    ),
    ("area = ...", SPY),
    ("# YOUR CODE HERE\n    pass\n    return (area,)", f"{OUTPUT}\n    return (area,)"),
    ("total = ...", "total = 6"),
)


async def test_the_page_shows_what_the_student_saw_and_no_hidden_test(rig: GradingRig) -> None:
    assignment = await rig.prepare(SOURCE)
    found = await rig.grade(assignment, TELLS)
    page = render_notebook_page(found.text, "alice.py", found.cells)
    assert '<h3 class="one">A <em>wave</em></h3>' in page
    assert 'class="callout warn"' in page
    assert "marimo.App()" in page, "what it printed of its own file"
    assert "Checks run apart from the notebook" in page
    secrets = ("secret ten", "Q1: more", "LEAK 10", "== 100")
    assert [each for each in secrets if each in page] == []
    grade = StudentGrade(
        *("A1", "alice"),
        tuple(
            QuestionGrade(each.key, each.earned, each.available, each.state, each.earned)
            for each in found.result.questions
        ),
    )
    work = GradedWork(grade, LastResult(found.result))
    for level in (Level.NOTHING, Level.POINTS):
        notebook = ShownNotebook(cells_of_page(page))
        feedback = render_feedback_page(work, Disclosure(level), notebook)
        assert "A <em>wave</em>" in feedback
        assert "Q1: area" in feedback
        assert [each for each in (*secrets, "area(10)") if each in feedback] == []
    everything = render_feedback_page(work, Disclosure(Level.FULL), ShownNotebook())
    assert "Q1: more" in everything, "the canary is one"
    assert "LEAK 10" in everything or "area(10)" in everything
