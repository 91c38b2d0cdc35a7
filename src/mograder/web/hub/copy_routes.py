"""The routes of copies' timelines and submissions, and of work that could not be saved."""

from __future__ import annotations

from mograder.web.hub.handlers import submissions, timeline
from mograder.web.hub.route import Route, body_of
from mograder.web.hub.support import models, timeline_models
from mograder.web.hub.support.access import Access
from mograder.web.receipts import Verdict

_CHANGING = (400, 404, 409, 413, 503)
_STRINGS = {"type": "array", "items": {"type": "string"}}
_CELLS = body_of(
    {
        "codes": _STRINGS,
        "names": _STRINGS,
        "configs": {"type": "array", "items": {"type": "object"}},
        "base": _STRINGS,
    }
)

TIMELINE_PAGES = (
    Route("GET", "/versions/{user}/{a}", timeline.versions_page, Access.OWNER),
    Route("GET", "/versions/{user}/{a}/{number}", timeline.changes_page, Access.OWNER),
)

_ONE = "/submissions/{user}/{a}/{number}"

SUBMISSION_ROUTES = (
    Route("GET", "/submissions/{user}/{a}", submissions.submissions_page, Access.OWNER),
    Route("GET", _ONE, submissions.submission_page, Access.OWNER),
    Route(
        "GET", _ONE + "/file", submissions.send_submission, Access.OWNER, "Copies", problems=(404,)
    ),
    Route(
        "GET", _ONE + "/receipt", submissions.send_receipt, Access.OWNER, "Copies", problems=(404,)
    ),
    Route(
        "POST",
        _ONE + "/restore",
        submissions.bring_back,
        Access.SELF,
        "Copies",
        models.Restored,
        _CHANGING,
    ),
    Route(
        "POST",
        "/receipts/verify",
        submissions.verify_receipt,
        Access.ANYONE,
        "Copies",
        Verdict,
        (400, 413),
        body_of({"signature": {"type": "string"}}),
    ),
)

TIMELINE_ROUTES = (
    Route(
        "GET",
        "/timeline/{user}/{a}",
        timeline.list_versions,
        Access.OWNER,
        "Copies",
        list[timeline_models.VersionEntry],
        (404, 503),
    ),
    Route(
        "GET",
        "/timeline/{user}/{a}/{number}",
        timeline.send_version,
        Access.OWNER,
        "Copies",
        problems=(400, 404, 503),
    ),
    Route(
        "GET",
        "/timeline/{user}/{a}/{number}/changes",
        timeline.changes,
        Access.OWNER,
        "Copies",
        timeline_models.VersionChanges,
        (400, 404, 503),
    ),
    Route(
        "POST",
        "/timeline/{user}/{a}/{number}/restore",
        timeline.restore,
        Access.SELF,
        "Copies",
        models.Restored,
        _CHANGING,
    ),
    Route(
        "POST",
        "/timeline/{user}/{a}/{number}/restore/{cell}",
        timeline.restore_cell,
        Access.SELF,
        "Copies",
        timeline_models.CellRestored,
        _CHANGING,
    ),
    Route(
        "POST",
        "/unsaved/{user}/{a}",
        timeline.keep_unsaved,
        Access.SELF,
        "Copies",
        timeline_models.Unsaved,
        (400, 404, 409, 413, 503),
        _CELLS,
    ),
    Route(
        "POST",
        "/unsaved/{user}/{a}/put",
        timeline.put_unsaved,
        Access.SELF,
        "Copies",
        models.Restored,
        _CHANGING,
        _CELLS,
    ),
)
"""Reading is for instructors too; only the copy's owner puts something back."""
