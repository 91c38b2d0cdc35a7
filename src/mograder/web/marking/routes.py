"""The table of the routes of marking.

Each row: method, path, handler, and the access that it demands. A handler takes the parameters of
its path, ``request``, ``marking: CurrentMarking`` and ``marker: CurrentMarker``. The path parameter
``a`` is an assignment: a marker is refused where it is not open for marking. Paths that begin with
another word have ``-`` before it, which is no assignment's name.
"""

from __future__ import annotations

from mograder.web.marking import (
    api_answers,
    api_comments,
    extension_pages,
    marking_pages,
    regrade_pages,
    release_pages,
    similarity_pages,
    statistics_pages,
)
from mograder.web.route import INSTRUCTOR, MARKER, Route

_API = "/marking/-/api/{a}"
_QUESTION = _API + "/answers/{answer}/questions/{question}"
_COMMENTS = _API + "/questions/{question}/comments"
_ANNOTATIONS = _API + "/answers/{answer}/annotations"
_RELEASE = "/marking/{a}/release"
_SIMILAR = "/marking/{a}/similarity"
_PAIR = _SIMILAR + "/{one}/{other}"
_REQUEST = "/marking/{a}/requests/{number}"

MARKING_ROUTES: tuple[Route, ...] = (
    # The assignments, and pages that belong to none of them
    Route("GET", "/marking", marking_pages.course, MARKER),
    Route("GET", "/marking/-/requests", regrade_pages.requests_page, MARKER),
    Route("GET", "/marking/{a}", marking_pages.assignment, MARKER),
    Route("POST", "/marking/{a}/open", marking_pages.open_or_close, INSTRUCTOR),
    Route("POST", "/marking/{a}/share", marking_pages.share, INSTRUCTOR),
    Route("GET", "/marking/{a}/late", extension_pages.late_page, INSTRUCTOR),
    Route("POST", "/marking/{a}/late/preview", extension_pages.preview, INSTRUCTOR),
    Route("POST", "/marking/{a}/late", extension_pages.record, INSTRUCTOR),
    # The page on which people mark
    Route("GET", "/marking/{a}/questions/{question}", marking_pages.mark_page, MARKER),
    Route("GET", "/marking/{a}/answers/{answer}", marking_pages.mark_page, MARKER),
    # The JSON that the marking pages read and send
    Route("GET", _API, api_answers.overview, MARKER),
    Route("GET", _API + "/queue", api_answers.queue, MARKER),
    Route("POST", _API + "/preview", api_answers.preview, MARKER),
    Route("GET", _QUESTION, api_answers.answer, MARKER),
    Route("PUT", _QUESTION, api_answers.save, MARKER),
    Route("POST", _QUESTION + "/undo", api_answers.undo, MARKER),
    Route("GET", _QUESTION + "/history", api_answers.history, MARKER),
    Route("PUT", _QUESTION + "/group", api_answers.separate, MARKER),
    Route("GET", _API + "/groups", api_answers.groups, MARKER),
    Route("GET", _API + "/answers/{answer}/outputs", api_answers.outputs, MARKER),
    Route("GET", _COMMENTS, api_comments.comments, MARKER),
    Route("POST", _COMMENTS, api_comments.add, MARKER),
    Route("GET", _COMMENTS + "/{comment}", api_comments.preview, MARKER),
    Route("PUT", _COMMENTS + "/{comment}", api_comments.change, MARKER),
    Route("DELETE", _COMMENTS + "/{comment}", api_comments.retire, MARKER),
    Route("PUT", _API + "/questions/{question}/rubric", api_comments.start, MARKER),
    Route("POST", _ANNOTATIONS, api_comments.add_annotation, MARKER),
    Route("PUT", _ANNOTATIONS + "/{annotation}", api_comments.change_annotation, MARKER),
    Route("DELETE", _ANNOTATIONS + "/{annotation}", api_comments.remove_annotation, MARKER),
    # Statistics of a class, and similar submissions
    Route("GET", "/marking/{a}/statistics", statistics_pages.statistics_page, INSTRUCTOR),
    Route("GET", "/marking/{a}/statistics.csv", statistics_pages.statistics_csv, INSTRUCTOR),
    Route("GET", _SIMILAR, similarity_pages.similarity_page, INSTRUCTOR),
    Route("GET", _PAIR, similarity_pages.pair_page, INSTRUCTOR),
    Route("POST", _PAIR, similarity_pages.give_verdict, INSTRUCTOR),
    # Release, and requests to look at a mark again
    Route("GET", _RELEASE, release_pages.release_page, INSTRUCTOR),
    Route("POST", _RELEASE, release_pages.change_release, INSTRUCTOR),
    Route("GET", _RELEASE + "/{student}", release_pages.preview, INSTRUCTOR),
    Route("GET", _REQUEST, regrade_pages.thread_page, MARKER),
    Route("POST", _REQUEST, regrade_pages.change_thread, MARKER),
)
