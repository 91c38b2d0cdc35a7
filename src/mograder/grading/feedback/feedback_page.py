"""The page of feedback, ``feedback/<assignment>/<student>.html``: inert and self-contained.

The mark, the reasons for each point, comments, the deduction for lateness, then the notebook as it
ran (:mod:`mograder.grading.pages.notebook_page`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mograder.grading.feedback.disclosure import Disclosure
from mograder.grading.feedback.feedback_view import GradedWork, view_feedback
from mograder.grading.late.explanation import moment
from mograder.grading.pages.notebook_page import NotebookView
from mograder.grading.pages.page_templates import render_page, styled

_SHORT = 16


@dataclass(frozen=True, slots=True)
class ShownNotebook:
    """The notebook of a page of feedback.

    ``markup`` are the cells of a page that :func:`render_notebook_page` wrote, or else ``view`` is
    the notebook's code. Without either, the page says that there is none.
    """

    markup: str = ""
    view: NotebookView | None = None


def render_feedback_page(
    work: GradedWork, disclosure: Disclosure, notebook: ShownNotebook, signature: str = ""
) -> str:
    """Return a student's page; ``signature`` is that of the result, if there is one."""
    return render_page(
        "feedback.html.j2",
        feedback=view_feedback(work, disclosure),
        notebook=notebook.view,
        markup=notebook.markup,
        result=work.result,
        signature=signature[:_SHORT],
        graded=_graded(work),
        styled=styled,
    )


def _graded(work: GradedWork) -> str:
    """Return when the submission was graded, in words; "" if that is not known."""
    return "" if work.result is None else moment(datetime.fromisoformat(work.result.at))
