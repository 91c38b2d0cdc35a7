"""The page on which people mark: one question of all students, or all questions of one student.

The page itself holds no mark and no name: its script asks the API for them, one answer after the
other.
"""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from mograder.grading.marking.answer_names import question_of, question_title
from mograder.web.context import request_context
from mograder.web.headers import content_security_policy
from mograder.web.marking.access import Marker
from mograder.web.marking.answer_access import assignment_of, may_show_names, names_shown
from mograder.web.marking.context import CurrentMarker, CurrentMarking, MarkingApp
from mograder.web.pages import page


async def question_page(
    a: str, question: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Show the page that goes through all answers to a question. Raises: NotFound."""
    title = question_title(question_of(question))
    return _page(request, marking, marker, a, question=question, title=title)


async def answer_page(
    a: str, answer: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Show the page that goes through all questions of one student's submission."""
    return _page(request, marking, marker, a, answer=answer)


def _page(
    request: Request,
    marking: MarkingApp,
    marker: Marker,
    a: str,
    *,
    question: str = "",
    title: str = "",
    answer: str = "",
) -> Response:
    """Return the page that goes through the answers to a question, or the questions of an answer.

    Its policy also allows the frame of the outputs, which is ours.
    """
    response = page(
        request,
        "marking/mark.html",
        here="marking",
        assignment=assignment_of(a),
        question=question,
        title=title,
        answer=answer,
        marker=marker.name,
        names_shown=names_shown(marking, marker, None),
        may_show_names=may_show_names(marking, marker),
    )
    own = content_security_policy(request_context(request))
    response.headers["Content-Security-Policy"] = f"{own}; frame-src 'self'"
    return response
