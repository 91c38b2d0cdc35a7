"""The table of the routes of marking.

Each row: method, path, handler, and the role that it demands. A handler takes the parameters of its
path, ``request``, ``marking: CurrentMarking`` and ``marker: CurrentMarker``. The path parameter
``a`` is an assignment: a marker is refused where it is not open for marking. Paths that begin with
another word have ``-`` before it, which is no assignment's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mograder.web.marking import (
    api_annotations,
    api_answers,
    api_comments,
    equal_answers,
    late,
    overview,
    pages,
    release_pages,
    request_pages,
    sharing,
    similarity_pages,
    statistics_pages,
)


class Demands(StrEnum):
    """The role that a route of marking demands; each also admits instructors."""

    MARKER = "marker"
    INSTRUCTOR = "instructor"


@dataclass(frozen=True, slots=True)
class MarkingRoute:
    """One route; its path begins with ``/marking``."""

    method: str
    path: str
    handler: Callable[..., object]
    demands: Demands = Demands.MARKER


_API = "/marking/-/api/{a}"
_QUESTION = _API + "/answers/{answer}/questions/{question}"
_COMMENTS = _API + "/questions/{question}/comments"
_ANNOTATIONS = _API + "/answers/{answer}/annotations"
_RELEASE = "/marking/{a}/release"
_SIMILAR = "/marking/{a}/similarity"
_PAIR = _SIMILAR + "/{one}/{other}"
_REQUEST = "/marking/{a}/requests/{number}"

MARKING_ROUTES: tuple[MarkingRoute, ...] = (
    # The assignments, and pages that belong to none of them
    MarkingRoute("GET", "/marking", overview.course),
    MarkingRoute("GET", "/marking/-/requests", request_pages.requests_page),
    MarkingRoute("GET", "/marking/{a}", overview.assignment),
    MarkingRoute("POST", "/marking/{a}/open", overview.open_or_close, Demands.INSTRUCTOR),
    MarkingRoute("POST", "/marking/{a}/share", sharing.share_form, Demands.INSTRUCTOR),
    MarkingRoute("GET", "/marking/{a}/late", late.late_page, Demands.INSTRUCTOR),
    MarkingRoute("POST", "/marking/{a}/late/preview", late.preview, Demands.INSTRUCTOR),
    MarkingRoute("POST", "/marking/{a}/late", late.record, Demands.INSTRUCTOR),
    # The page on which people mark
    MarkingRoute("GET", "/marking/{a}/questions/{question}", pages.question_page),
    MarkingRoute("GET", "/marking/{a}/answers/{answer}", pages.answer_page),
    # The JSON that the marking pages read and send
    MarkingRoute("GET", _API, api_answers.overview),
    MarkingRoute("GET", _API + "/queue", api_answers.queue),
    MarkingRoute("POST", _API + "/preview", api_answers.preview),
    MarkingRoute("GET", _QUESTION, api_answers.answer),
    MarkingRoute("PUT", _QUESTION, api_answers.save),
    MarkingRoute("POST", _QUESTION + "/undo", api_answers.undo),
    MarkingRoute("GET", _QUESTION + "/history", api_answers.history),
    MarkingRoute("PUT", _QUESTION + "/group", equal_answers.separate),
    MarkingRoute("GET", _API + "/groups", equal_answers.groups),
    MarkingRoute("GET", _API + "/answers/{answer}/outputs", api_answers.outputs),
    MarkingRoute("GET", _COMMENTS, api_comments.comments),
    MarkingRoute("POST", _COMMENTS, api_comments.add),
    MarkingRoute("GET", _COMMENTS + "/{comment}", api_comments.preview),
    MarkingRoute("PUT", _COMMENTS + "/{comment}", api_comments.change),
    MarkingRoute("DELETE", _COMMENTS + "/{comment}", api_comments.retire),
    MarkingRoute("PUT", _API + "/questions/{question}/rubric", api_comments.start),
    MarkingRoute("POST", _ANNOTATIONS, api_annotations.add),
    MarkingRoute("PUT", _ANNOTATIONS + "/{annotation}", api_annotations.change),
    MarkingRoute("DELETE", _ANNOTATIONS + "/{annotation}", api_annotations.remove),
    MarkingRoute("PUT", _API + "/shares", sharing.share_json, Demands.INSTRUCTOR),
    # Statistics of a class, and similar submissions
    MarkingRoute(
        "GET", "/marking/{a}/statistics", statistics_pages.statistics_page, Demands.INSTRUCTOR
    ),
    MarkingRoute(
        "GET", "/marking/{a}/statistics.csv", statistics_pages.statistics_csv, Demands.INSTRUCTOR
    ),
    MarkingRoute("GET", _SIMILAR, similarity_pages.similarity_page, Demands.INSTRUCTOR),
    MarkingRoute("GET", _PAIR, similarity_pages.pair_page, Demands.INSTRUCTOR),
    MarkingRoute("POST", _PAIR, similarity_pages.give_verdict, Demands.INSTRUCTOR),
    # Release, and requests to look at a mark again
    MarkingRoute("GET", _RELEASE, release_pages.release_page, Demands.INSTRUCTOR),
    MarkingRoute("POST", _RELEASE, release_pages.change_release, Demands.INSTRUCTOR),
    MarkingRoute("GET", _RELEASE + "/{student}", release_pages.preview, Demands.INSTRUCTOR),
    MarkingRoute("GET", _REQUEST, request_pages.thread_page),
    MarkingRoute("POST", _REQUEST, request_pages.change_thread),
)
