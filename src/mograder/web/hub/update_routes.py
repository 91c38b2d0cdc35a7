"""The routes of updates: new releases that are merged into students' copies."""

from __future__ import annotations

from mograder.web.hub.handlers import copy_update, update_pages, updates
from mograder.web.hub.route import Route
from mograder.web.hub.support import update_models
from mograder.web.hub.support.access import Access

_CHANGING = (400, 404, 409, 413, 503)

UPDATE_ROUTES: tuple[Route, ...] = (
    Route("GET", "/update/{user}/{a}", copy_update.show, Access.OWNER),
    Route("GET", "/course/updates/{name}", update_pages.show, Access.INSTRUCTOR),
    Route("GET", "/course/updates/{name}/{user}", update_pages.look, Access.INSTRUCTOR),
    Route("POST", "/course/cancel-preview/{item}", updates.cancel_preview, Access.INSTRUCTOR),
    Route("POST", "/course/undo-update/{item}", updates.undo, Access.INSTRUCTOR),
    Route(
        "GET",
        "/updates/{item}",
        updates.status,
        Access.INSTRUCTOR,
        "Updates",
        update_models.UpdateStatus,
        (400,),
    ),
    Route(
        "POST",
        "/updates/{item}/preview",
        updates.preview,
        Access.INSTRUCTOR,
        "Updates",
        update_models.UpdateStatus,
        (400, 404, 409, 503),
    ),
    Route(
        "DELETE",
        "/updates/{item}/preview",
        updates.cancel_preview,
        Access.INSTRUCTOR,
        "Updates",
        update_models.PreviewCancelled,
        (400, 503),
    ),
    Route(
        "POST",
        "/updates/{item}",
        updates.offer,
        Access.INSTRUCTOR,
        "Updates",
        update_models.UpdateStatus,
        (400, 404, 409, 503),
    ),
    Route(
        "DELETE",
        "/updates/{item}",
        updates.undo,
        Access.INSTRUCTOR,
        "Updates",
        update_models.UpdateUndone,
        (400, 404, 503),
    ),
    Route(
        "POST",
        "/update/{user}/{a}",
        copy_update.take,
        Access.OWNER,
        "Updates",
        update_models.CopyUpdated,
        _CHANGING,
    ),
    Route(
        "POST",
        "/update/{user}/{a}/undo",
        copy_update.put_back,
        Access.OWNER,
        "Updates",
        update_models.CopyUpdated,
        _CHANGING,
    ),
)
