"""Validating a student's notebook on the hub (B55, B119, compatibility-0.3.16.md 2.3 and 2.6).

The notebook is read from the workspace, whose content is not trusted, and a copy of it runs
elsewhere: an open editor is not disturbed, and the student's file is never changed.
"""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.identity import Identity
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.grading.validate import Submission
from mograder.grading.validation_report import (
    ValidationAnswer,
    ValidationReport,
    ValidationResult,
    answer_of,
    has_our_elements_only,
    render_html,
)
from mograder.hub.checks import CheckLog
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.pep723 import Script
from mograder.sandbox.execution.item_limits import limits_for
from mograder.sessions.launch_spec import script_of
from mograder.sessions.session import CopyOf
from mograder.store.course.course import read_notebook
from mograder.web.background import Report
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy, copy_in, copy_page
from mograder.web.hub.core.responses import deliver
from mograder.web.pages import inert_page
from mograder.web.route import OWNER, Route

_log = get_logger(__name__)
_SECONDS = 120.0
"""0.3.16's limit on a notebook's run; the course's own limit may be shorter."""


async def validate(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, ValidationAnswer]:
    """Run a student's notebook against its checks, and return the result of each."""

    async def job(report: Report) -> ValidationAnswer:
        owner, item = copy.user, copy.item
        read_at = app.services.clock.now()  # what is saved while it runs was not validated
        text = await to_thread.run_sync(_text, app, owner, item)
        await app.audit.record_foreign(request, owner, "validate", f"{owner}/{item}")
        submission = await _submission(app, caller, copy, text, report)
        found = await app.services.validations.validate(owner, submission, report)
        answer = await to_thread.run_sync(_told, app, copy, found)
        now = app.services.clock.now()
        await app.results.put(owner, item, ValidationResult(read_at, answer))
        app.of(CheckLog).validated(owner, item, answer, now)
        passed = sum(each.passed for each in answer.checks)
        note = app.services.recorder.versions.note_checks
        try:  # beside the copy's versions with this text
            await to_thread.run_sync(note, owner, item, text.encode(), passed, len(answer.checks))
        except MograderError as error:  # the result is there all the same
            _log.warning("the checks of a version could not be noted: %s", error)
        return answer

    return await deliver(request, job, copy_page("validation", copy))


def _told(app: HubApp, copy: CopyOf, found: ValidationReport) -> ValidationAnswer:
    """Keep a report beside the notebook; blocks: a page of a thousand errors takes a second."""
    kept = app.services.workspaces.put_report(copy.user, copy.item, render_html(found))
    return answer_of(found, html_available=kept)


def _text(app: HubApp, user: Username, item: ItemName) -> str:
    try:
        return app.services.workspaces.text(user, item, MAX_NOTEBOOK)
    except NotFound as error:
        raise NotFound("Notebook not found") from error


async def _submission(
    app: HubApp, caller: Identity, copy: CopyOf, text: str, report: Report
) -> Submission:
    services, user, item = app.services, copy.user, copy.item
    settings = services.loaded.settings
    script, released, slot = await to_thread.run_sync(_prepared, app, caller, copy)
    environment = await services.environments.prepare(script, report)
    limits = limits_for(settings, script, item)
    return Submission(
        text,
        f"{item}.py",
        environment.directory,
        limits,
        min(_SECONDS, settings.defaults.timeout),
        release=released,
        folder=services.workspaces.directory(user, item),
        uid_slot=slot,
    )


def _prepared(app: HubApp, caller: Identity, copy: CopyOf) -> tuple[Script, str | None, int]:
    shown, services = app.items.shown(caller, copy), app.services
    text = None if shown is None else read_notebook(shown.notebook)
    script = script_of(services.releases.get(copy.item))
    return script, text, services.state.slot_of(copy.user)


async def validate_report(user: str, a: str, request: Request, app: CurrentApp) -> Response:
    """Show the last validation report, under a strict policy: student code could write to it."""
    try:
        copy = copy_in(user, a)
    except InvalidInput as error:
        raise NotFound("No validation report") from error
    saved = await app.copies.report(copy)
    if not await to_thread.run_sync(has_our_elements_only, saved.data):
        raise NotFound("No validation report", hint="Validate the notebook once more.")
    await app.audit.record_foreign(request, copy.user, "read report", str(copy))
    return inert_page(saved.data)


ROUTES = (
    Route("POST", "/validate/{user}/{a}", validate, OWNER, "Copies"),
    Route("GET", "/validate-report/{user}/{a}", validate_report, OWNER, "Copies"),
)
