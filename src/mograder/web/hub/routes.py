"""The table of all the hub's routes.

Each row: method, path, handler, access; then its entry in the API's description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mograder.grading.validation.report_json import ValidationAnswer
from mograder.web.hub.handlers import (
    admin,
    client,
    copies,
    copy_pages,
    course,
    course_pages,
    events,
    grading,
    home,
    item_pages,
    items,
    marks,
    notebook_state,
    pages,
    rehearsal,
    sessions,
    signin,
    sources,
    validation,
    warming,
)
from mograder.web.hub.support import models
from mograder.web.hub.support.access import Access
from mograder.web.marking.routes import MARKING_ROUTES, Demands


@dataclass(frozen=True, slots=True)
class Route:
    """One route: its handler, the access that it demands, and its chapter in the documentation.

    A route without a chapter is a page for people and not part of the described API.
    """

    method: str
    path: str
    handler: Callable[..., object]
    access: Access
    chapter: str = ""
    answer: Any = None
    problems: tuple[int, ...] = ()
    extra: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    status: int = 200


def _form(field: str, schema: Mapping[str, object], **more: object) -> Mapping[str, object]:
    """Return the description of a multipart form with one field."""
    form = {"type": "object", "required": [field], "properties": {field: schema}}
    content = {"multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}, **more}


_BINARY = {"type": "string", "format": "binary"}
_TYPE = {
    "name": "type",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": ["assignment", "lecture", "demo"]},
}
_FILE = _form("file", _BINARY)
_FILES = _form("files", {"type": "array", "items": _BINARY}, parameters=[_TYPE])
_SOURCE = _form("files", {"type": "array", "items": _BINARY})


def _body(properties: Mapping[str, object], *, required: bool = True) -> Mapping[str, object]:
    """Return the description of a JSON body; the handler itself reads it within limits."""
    content = {"application/json": {"schema": {"type": "object", "properties": dict(properties)}}}
    return {"requestBody": {"required": required, "content": content}}


_DEMANDED = {Demands.MARKER: Access.MARKER, Demands.INSTRUCTOR: Access.INSTRUCTOR}
_MARKING = tuple(
    Route(each.method, each.path, each.handler, _DEMANDED[each.demands]) for each in MARKING_ROUTES
)

_STARTING = (400, 404, 409, 502, 503, 504)
_CHANGING = (400, 404, 409, 413, 503)

ROUTES: tuple[Route, ...] = (
    # Pages
    Route("GET", "/", home.first_page, Access.ANYONE),
    Route("GET", "/view-as", home.view_as, Access.MEMBER),
    Route("GET", "/events", events.stream, Access.MEMBER),
    Route("GET", "/edit/{a}", pages.edit_spinner, Access.MEMBER),
    Route("GET", "/edit/{a}/", pages.edit_spinner, Access.MEMBER),
    Route("GET", "/run/{lecture}", pages.run_spinner, Access.MEMBER),
    Route("GET", "/run/{lecture}/", pages.run_spinner, Access.MEMBER),
    Route("POST", "/download/{a}", items.download, Access.MEMBER),
    Route("GET", "/reset/{user}/{a}", copy_pages.reset_page, Access.OWNER),
    Route("GET", "/versions/{user}/{a}", copy_pages.versions, Access.OWNER),
    Route("GET", "/look/{user}/{a}", copy_pages.look, Access.OWNER),
    Route("GET", "/look/{user}/{a}/{archive}", copy_pages.look_back, Access.OWNER),
    Route("GET", "/validation/{user}/{a}", copy_pages.validation, Access.OWNER),
    Route("GET", "/marks/{user}/{a}", marks.marks_page, Access.OWNER),
    Route("GET", "/marks/{user}/{a}/page", marks.feedback_page, Access.OWNER),
    Route("POST", "/marks/{user}/{a}/requests", marks.ask, Access.OWNER),
    # Pages of instructors
    Route("GET", "/course/items", course_pages.items, Access.INSTRUCTOR),
    Route("GET", "/course/items/{name}", item_pages.item, Access.INSTRUCTOR),
    Route("GET", "/course/items/{name}/{user}", item_pages.graded, Access.INSTRUCTOR),
    Route("POST", "/course/source/{name}", sources.replace, Access.INSTRUCTOR),
    Route("POST", "/course/cancel-grading/{item}", grading.cancel, Access.INSTRUCTOR),
    Route("POST", "/course/publish", admin.publish_form, Access.INSTRUCTOR),
    Route("GET", "/course/publishing/{name}", course_pages.working, Access.INSTRUCTOR),
    Route("GET", "/course/preparing", course_pages.working, Access.INSTRUCTOR),
    Route("GET", "/course/sessions", course_pages.sessions, Access.INSTRUCTOR),
    Route("GET", "/course/students", course_pages.students, Access.INSTRUCTOR),
    Route("GET", "/course/students/{user}", course_pages.student, Access.INSTRUCTOR),
    Route("GET", "/course/people", course_pages.people, Access.INSTRUCTOR),
    Route("GET", "/course/problems", course_pages.problems, Access.INSTRUCTOR),
    Route("GET", "/course/log", course_pages.log, Access.INSTRUCTOR),
    # Marking
    *_MARKING,
    # Loaded by every page
    Route("GET", "/static/{version}/{name}", pages.static_file, Access.ANYONE),
    # The student's commands
    Route("GET", "/client", client.page, Access.ANYONE),
    Route("GET", "/client/{digest}/{name}", client.send, Access.ANYONE),
    # Signing in and out
    Route("GET", "/login", signin.login_page, Access.ANYONE),
    Route("POST", "/login", signin.login, Access.ANYONE),
    Route("GET", "/login/link", signin.link_page, Access.ANYONE),
    Route("POST", "/login/link", signin.use_link, Access.ANYONE),
    Route("POST", "/logout", signin.logout, Access.ANYONE),
    # Items
    Route("GET", "/assignments", items.list_items, Access.MEMBER, "Items", list[models.Entry]),
    Route(
        "GET",
        "/release/{name}/{filename:path}",
        items.release_file,
        Access.MEMBER,
        "Items",
        problems=(400, 404),
    ),
    Route(
        "GET",
        "/release/{name}",
        admin.held,
        Access.INSTRUCTOR,
        "Items",
        models.Held,
        (400,),
    ),
    Route(
        "POST",
        "/publish/{name}",
        admin.publish,
        Access.INSTRUCTOR,
        "Items",
        models.Published,
        (400, 409, 413, 502, 503),
        _FILES,
    ),
    Route(
        "POST",
        "/warm-cache",
        admin.warm_cache,
        Access.INSTRUCTOR,
        "Items",
        models.Warmed,
    ),
    # Grading
    Route(
        "GET",
        "/source/{name}",
        sources.held,
        Access.INSTRUCTOR,
        "Grading",
        models.HeldSource,
        (400,),
    ),
    Route(
        "PUT",
        "/source/{name}",
        sources.replace,
        Access.INSTRUCTOR,
        "Grading",
        models.SourceKept,
        (400, 409, 413, 503),
        _SOURCE,
    ),
    Route(
        "POST",
        "/autograde/{item}",
        grading.start,
        Access.INSTRUCTOR,
        "Grading",
        models.GradingJob,
        (400, 404, 409, 413, 503),
        _body(
            {
                "students": {"type": "array", "items": {"type": "string"}},
                "force": {"type": "boolean"},
                "failed": {"type": "boolean"},
            },
            required=False,
        ),
        status=202,
    ),
    Route(
        "GET",
        "/autograde/{item}",
        grading.look,
        Access.INSTRUCTOR,
        "Grading",
        models.Grading,
        (400, 404, 409, 503),
    ),
    Route(
        "DELETE",
        "/autograde/{item}",
        grading.cancel,
        Access.INSTRUCTOR,
        "Grading",
        models.GradingCancelled,
        (400, 503),
    ),
    # The course
    Route(
        "POST",
        "/sync-users",
        course.sync_users,
        Access.INSTRUCTOR,
        "Course",
        models.Synced,
        (400, 409, 413, 503),
        _body({"users": {"type": "array", "items": {"type": "string"}}}),
    ),
    Route(
        "GET",
        "/visibility",
        course.visibility,
        Access.INSTRUCTOR,
        "Course",
        dict[str, models.VisibilityEntry],
        (409,),
    ),
    Route(
        "POST",
        "/visibility",
        course.set_visibility,
        Access.INSTRUCTOR,
        "Course",
        models.Rules,
        (400, 409, 413, 503),
        _body({"items": {"type": "object"}, "replace": {"type": "boolean"}}),
    ),
    Route(
        "POST",
        "/revoke-token/{user}",
        course.revoke_token,
        Access.INSTRUCTOR,
        "Course",
        models.Revoked,
        (400, 503),
    ),
    Route(
        "GET",
        "/audit",
        course.audit_log,
        Access.INSTRUCTOR,
        "Course",
        list[models.AuditEntry],
        (400,),
    ),
    # Sessions
    Route(
        "GET",
        "/sessions",
        sessions.list_sessions,
        Access.MEMBER,
        "Sessions",
        list[models.SessionEntry],
    ),
    Route(
        "POST",
        "/start-edit-deep/{a}",
        sessions.start_edit_deep,
        Access.MEMBER,
        "Sessions",
        models.Started,
        _STARTING,
    ),
    Route(
        "POST",
        "/start-edit/{user}/{a}",
        sessions.start_edit,
        Access.OWNER,
        "Sessions",
        models.Started,
        _STARTING,
    ),
    Route(
        "POST",
        "/start-run/{lecture}",
        sessions.start_run,
        Access.MEMBER,
        "Sessions",
        models.Started,
        _STARTING,
    ),
    Route(
        "POST",
        "/stop-edit/{user}/{a}",
        sessions.stop_edit,
        Access.OWNER,
        "Sessions",
        models.Stopped,
        (400,),
    ),
    Route(
        "GET",
        "/standing/{user}/{a}",
        notebook_state.standing,
        Access.OWNER,
        "Sessions",
        models.NotebookState,
        (404,),
    ),
    # Before a lecture
    Route(
        "GET",
        "/rehearsal/{item}",
        rehearsal.look,
        Access.INSTRUCTOR,
        "Sessions",
        models.RehearsalPlan,
        (404,),
    ),
    Route(
        "POST",
        "/rehearsal/{item}",
        rehearsal.start,
        Access.INSTRUCTOR,
        "Sessions",
        models.Rehearsed,
        (400, 404, 409, 413, 503),
        _body({"students": {"type": "integer"}, "within": {"type": "number"}}),
    ),
    Route(
        "DELETE",
        "/rehearsal/{item}",
        rehearsal.cancel,
        Access.INSTRUCTOR,
        "Sessions",
        models.RehearsalCancelled,
    ),
    Route("GET", "/warm", warming.planned, Access.INSTRUCTOR, "Items", models.ItemWarmth),
    Route(
        "POST",
        "/warm",
        warming.warm,
        Access.INSTRUCTOR,
        "Items",
        models.ItemWarmth,
        (400, 404, 413, 503),
        _body({"items": {"type": "array"}, "at": {"type": "string"}}),
    ),
    # A student's copy
    Route(
        "GET",
        "/status/{user}/{a}",
        copies.status,
        Access.OWNER,
        "Copies",
        models.CopyStatus,
    ),
    Route(
        "POST",
        "/upload/{user}/{a}",
        copies.upload,
        Access.OWNER,
        "Copies",
        models.Uploaded,
        _CHANGING,
        _FILE,
    ),
    Route(
        "GET",
        "/export/{user}/{a}",
        copies.export,
        Access.OWNER,
        "Copies",
        problems=(400, 404, 409, 413),
    ),
    Route(
        "POST",
        "/mark-exported/{user}/{a}",
        copies.mark_exported,
        Access.OWNER,
        "Copies",
        models.Done,
        (400, 409, 503),
    ),
    Route(
        "POST",
        "/reset/{user}/{a}",
        copies.reset,
        Access.OWNER,
        "Copies",
        models.Reset,
        _CHANGING,
    ),
    Route(
        "POST",
        "/download-release/{user}/{a}",
        copies.download_release,
        Access.OWNER,
        "Copies",
        models.Taken,
        _CHANGING,
    ),
    Route(
        "POST",
        "/submit/{user}/{a}",
        copies.submit,
        Access.OWNER,
        "Copies",
        models.Submitted,
        _CHANGING,
    ),
    Route(
        "GET",
        "/archives/{user}/{a}",
        copies.list_archives,
        Access.OWNER,
        "Copies",
        list[models.ArchiveEntry],
        (404,),
    ),
    Route(
        "GET",
        "/archives/{user}/{a}/{archive}",
        copies.archive,
        Access.OWNER,
        "Copies",
        problems=(400, 404, 409, 413),
    ),
    Route(
        "POST",
        "/restore/{user}/{a}/{archive}",
        copies.restore,
        Access.OWNER,
        "Copies",
        models.Restored,
        _CHANGING,
    ),
    Route(
        "POST",
        "/validate/{user}/{a}",
        validation.validate,
        Access.OWNER,
        "Copies",
        ValidationAnswer,
        (400, 404, 413, 503, 504),
    ),
    Route(
        "GET",
        "/validate-report/{user}/{a}",
        copies.validate_report,
        Access.OWNER,
        "Copies",
        problems=(400, 404, 409, 413),
    ),
    # The hub itself
    Route("GET", "/health", pages.health, Access.ANYONE, "Hub", models.Health),
    Route("GET", "/ready", pages.ready, Access.ANYONE, "Hub", models.Ready, (503,)),
    Route("GET", "/api/status", pages.status, Access.MEMBER, "Hub", models.ServerStatus),
    Route("GET", "/metrics", pages.metrics, Access.METRICS),
    Route("GET", "/api/openapi.json", pages.openapi, Access.MEMBER),
    Route("GET", "/api/docs", pages.api_docs, Access.MEMBER),
)
"""Every route of the hub but the session paths; a test demands an access entry for each."""
