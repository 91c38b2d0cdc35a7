"""The table of the hub's routes: one line each, with the access that it demands.

A line: method, path, handler, access, and the chapter of the API's description; a route without a
chapter is a page for people. Reading a copy is for instructors too; only its owner puts something
back. ``mograder hub routes`` prints this table with the rows of ``external_routes``.
"""

from __future__ import annotations

from mograder.web.hub.board import board, help_requests
from mograder.web.hub.copies import (
    copies,
    copy_pages,
    copy_update,
    hand_in,
    submissions,
    timeline,
    updates,
    validation,
)
from mograder.web.hub.dates import dates
from mograder.web.hub.gradebook import pages as gradebook
from mograder.web.hub.home import calendar, home
from mograder.web.hub.invite import pages as invite
from mograder.web.hub.items import grading, item_pages, items, warming
from mograder.web.hub.items import publishing as admin
from mograder.web.hub.log import log
from mograder.web.hub.machines import machines
from mograder.web.hub.marks import marks
from mograder.web.hub.people import client
from mograder.web.hub.people import people as course
from mograder.web.hub.rehearsal import rehearsal
from mograder.web.hub.service import events, pages
from mograder.web.hub.sessions import notebook_state, sessions
from mograder.web.hub.signin import signin
from mograder.web.hub.today import pages as today
from mograder.web.marking.routes import MARKING_ROUTES
from mograder.web.route import Access, Route

ANYONE = Access.ANYONE
GUEST = Access.GUEST
MEMBER = Access.MEMBER
OWNER = Access.OWNER
SELF = Access.SELF
INSTRUCTOR = Access.INSTRUCTOR
HELPER = Access.HELPER
VISITOR = Access.VISITOR
METRICS = Access.METRICS

_SUBMISSION = "/submissions/{user}/{a}/{number}"
_VERSION = "/timeline/{user}/{a}/{number}"

ROUTES: tuple[Route, ...] = (
    # Pages
    Route("GET", "/", home.first_page, GUEST),
    Route("GET", "/calendar", calendar.calendar_page, MEMBER),
    Route("POST", "/calendar", calendar.change, MEMBER),
    Route("GET", "/calendar/{user}/{key}.ics", calendar.feed, ANYONE),
    Route("GET", "/view-as", home.view_as, INSTRUCTOR),
    Route("GET", "/events", events.stream, MEMBER),
    Route("GET", "/edit/{a}", sessions.edit_spinner, MEMBER),
    Route("GET", "/edit/{a}/", sessions.edit_spinner, MEMBER),
    Route("GET", "/run/{lecture}", sessions.run_spinner, MEMBER),
    Route("GET", "/run/{lecture}/", sessions.run_spinner, MEMBER),
    Route("POST", "/download/{a}", items.download, MEMBER),
    Route("GET", "/reset/{user}/{a}", copy_pages.reset_page, OWNER),
    Route("GET", "/versions/{user}/{a}", timeline.versions_page, OWNER),
    Route("GET", "/versions/{user}/{a}/{number}", timeline.changes_page, OWNER),
    Route("GET", "/look/{user}/{a}", copy_pages.look, VISITOR),
    Route("GET", "/look/{user}/{a}/{archive}", copy_pages.look_back, OWNER),
    Route("GET", "/validation/{user}/{a}", copy_pages.validation, OWNER),
    Route("GET", "/marks/{user}/{a}", marks.marks_page, OWNER),
    Route("GET", "/marks/{user}/{a}/page", marks.feedback_page, OWNER),
    Route("POST", "/marks/{user}/{a}/requests", marks.ask, SELF),
    # Pages of instructors
    Route("GET", "/course/items", items.items_page, INSTRUCTOR),
    Route("GET", "/course/items/{name}", item_pages.item, INSTRUCTOR),
    Route("GET", "/course/items/{name}/{user}", item_pages.graded, INSTRUCTOR),
    Route("POST", "/course/source/{name}", grading.replace, INSTRUCTOR),
    Route("POST", "/course/cancel-grading/{item}", grading.cancel, INSTRUCTOR),
    Route("POST", "/course/publish", admin.publish_form, INSTRUCTOR),
    Route("GET", "/course/sessions", sessions.sessions_page, INSTRUCTOR),
    Route("GET", "/course/students", course.students, INSTRUCTOR),
    *gradebook.ROUTES,
    *invite.ROUTES,
    *today.ROUTES,
    Route("GET", "/course/people", course.people, INSTRUCTOR),
    Route("GET", "/course/problems", log.problems, INSTRUCTOR),
    Route("GET", "/course/log", log.log, INSTRUCTOR),
    # The board of a class
    Route("GET", "/board", board.boards, HELPER),
    Route("GET", "/board/{name}", board.board, HELPER),
    Route("POST", "/board/{name}/help/{user}/take", help_requests.take, HELPER),
    Route("POST", "/board/{name}/help/{user}/close", help_requests.close, HELPER),
    Route("POST", "/board/{name}/help/{user}/together", help_requests.together, HELPER),
    Route("POST", "/board/{name}/messages", board.send, INSTRUCTOR),
    Route("POST", "/board/{name}/messages/{number}", board.take_back, INSTRUCTOR),
    # Marking
    *MARKING_ROUTES,
    # Loaded by every page
    Route("GET", "/static/{version}/{name}", pages.static_file, ANYONE),
    # The student's commands
    Route("GET", "/client", client.page, ANYONE),
    Route("GET", "/client/{digest}/{name}", client.send, ANYONE),
    # Signing in and out
    Route("GET", "/login", signin.login_page, ANYONE),
    Route("POST", "/login", signin.login, ANYONE),
    Route("GET", "/login/link", signin.link_page, ANYONE),
    Route("POST", "/login/link", signin.use_link, ANYONE),
    Route("POST", "/logout", signin.logout, ANYONE),
    # Items
    Route("GET", "/assignments", items.list_items, MEMBER, "Items"),
    Route("GET", "/release/{name}/{filename:path}", items.release_file, MEMBER, "Items"),
    Route("GET", "/release/{name}", admin.held, INSTRUCTOR, "Items"),
    Route("POST", "/publish/{name}", admin.publish, INSTRUCTOR, "Items"),
    Route("POST", "/warm-cache", admin.warm_cache, INSTRUCTOR, "Items"),
    # Updates of copies
    Route("GET", "/update/{user}/{a}", copy_update.show, OWNER),
    Route("GET", "/course/updates/{name}", updates.show, INSTRUCTOR),
    Route("GET", "/course/updates/{name}/{user}", updates.look, INSTRUCTOR),
    Route("POST", "/course/cancel-preview/{item}", updates.cancel_preview, INSTRUCTOR),
    Route("POST", "/course/undo-update/{item}", updates.undo, INSTRUCTOR),
    Route("GET", "/updates/{item}", updates.status, INSTRUCTOR, "Updates"),
    Route("POST", "/updates/{item}/preview", updates.preview, INSTRUCTOR, "Updates"),
    Route("DELETE", "/updates/{item}/preview", updates.cancel_preview, INSTRUCTOR, "Updates"),
    Route("POST", "/updates/{item}", updates.offer, INSTRUCTOR, "Updates"),
    Route("DELETE", "/updates/{item}", updates.undo, INSTRUCTOR, "Updates"),
    Route("POST", "/update/{user}/{a}", copy_update.take, OWNER, "Updates"),
    Route("POST", "/update/{user}/{a}/undo", copy_update.put_back, OWNER, "Updates"),
    # Grading
    Route("GET", "/source/{name}", grading.held, INSTRUCTOR, "Grading"),
    Route("PUT", "/source/{name}", grading.replace, INSTRUCTOR, "Grading"),
    Route("POST", "/autograde/{item}", grading.start, INSTRUCTOR, "Grading", 202),
    Route("GET", "/autograde/{item}", grading.look, INSTRUCTOR, "Grading"),
    Route("DELETE", "/autograde/{item}", grading.cancel, INSTRUCTOR, "Grading"),
    # The course
    Route("POST", "/sync-users", course.sync_users, INSTRUCTOR, "Course"),
    Route("GET", "/visibility", dates.visibility, INSTRUCTOR, "Course"),
    Route("POST", "/visibility", dates.set_visibility, INSTRUCTOR, "Course"),
    Route("GET", "/dates", dates.list_dates, INSTRUCTOR, "Course"),
    Route("POST", "/dates/{name}", dates.set_dates, INSTRUCTOR, "Course"),
    Route("POST", "/revoke-token/{user}", course.revoke_token, INSTRUCTOR, "Course"),
    Route("GET", "/audit", log.audit_log, INSTRUCTOR, "Course"),
    # Sessions
    Route("GET", "/sessions", sessions.list_sessions, MEMBER, "Sessions"),
    Route("POST", "/start-edit-deep/{a}", sessions.start_edit_deep, MEMBER, "Sessions"),
    Route("POST", "/start-edit/{user}/{a}", sessions.start_edit, OWNER, "Sessions"),
    Route("POST", "/start-run/{lecture}", sessions.start_run, MEMBER, "Sessions"),
    Route("POST", "/stop-edit/{user}/{a}", sessions.stop_edit, OWNER, "Sessions"),
    Route("GET", "/standing/{user}/{a}", notebook_state.standing, VISITOR, "Sessions"),
    # Help
    Route("GET", "/help/{user}/{a}", help_requests.state, OWNER, "Help"),
    Route("POST", "/help/{user}/{a}", help_requests.ask, SELF, "Help"),
    Route("DELETE", "/help/{user}/{a}", help_requests.withdraw, SELF, "Help"),
    # Before a lecture
    Route("GET", "/rehearsal/{item}", rehearsal.look, INSTRUCTOR, "Sessions"),
    Route("POST", "/rehearsal/{item}", rehearsal.start, INSTRUCTOR, "Sessions"),
    Route("DELETE", "/rehearsal/{item}", rehearsal.cancel, INSTRUCTOR, "Sessions"),
    Route("GET", "/warm", warming.planned, INSTRUCTOR, "Items"),
    Route("POST", "/warm", warming.warm, INSTRUCTOR, "Items"),
    # A student's copy
    Route("GET", "/status/{user}/{a}", copies.status, OWNER, "Copies"),
    Route("POST", "/upload/{user}/{a}", copies.upload, OWNER, "Copies"),
    Route("GET", "/export/{user}/{a}", copies.export, OWNER, "Copies"),
    Route("POST", "/mark-exported/{user}/{a}", copies.mark_exported, OWNER, "Copies"),
    Route("POST", "/reset/{user}/{a}", copies.reset, OWNER, "Copies"),
    Route("POST", "/download-release/{user}/{a}", copies.download_release, OWNER, "Copies"),
    Route("POST", "/submit/{user}/{a}", hand_in.submit, OWNER, "Copies"),
    Route("GET", "/hand-in/{user}/{a}", hand_in.look_before, OWNER, "Copies"),
    Route("POST", "/hand-in/{user}/{a}", hand_in.hand_in, OWNER),
    Route("GET", "/archives/{user}/{a}", copies.list_archives, OWNER, "Copies"),
    Route("GET", "/archives/{user}/{a}/{archive}", copies.archive, OWNER, "Copies"),
    Route("POST", "/restore/{user}/{a}/{archive}", copies.restore, OWNER, "Copies"),
    Route("GET", "/submissions/{user}/{a}", submissions.submissions_page, OWNER),
    Route("GET", _SUBMISSION, submissions.submission_page, OWNER),
    Route("GET", _SUBMISSION + "/file", submissions.send_submission, OWNER, "Copies"),
    Route("GET", _SUBMISSION + "/receipt", submissions.send_receipt, OWNER, "Copies"),
    Route("POST", _SUBMISSION + "/restore", submissions.bring_back, SELF, "Copies"),
    Route("POST", "/receipts/verify", submissions.verify_receipt, ANYONE, "Copies"),
    Route("GET", "/timeline/{user}/{a}", timeline.list_versions, OWNER, "Copies"),
    Route("GET", _VERSION, timeline.send_version, OWNER, "Copies"),
    Route("GET", _VERSION + "/changes", timeline.changes, OWNER, "Copies"),
    Route("POST", _VERSION + "/restore", timeline.restore, SELF, "Copies"),
    Route("POST", _VERSION + "/restore/{cell}", timeline.restore_cell, SELF, "Copies"),
    Route("POST", "/unsaved/{user}/{a}", timeline.keep_unsaved, SELF, "Copies"),
    Route("POST", "/unsaved/{user}/{a}/put", timeline.put_unsaved, SELF, "Copies"),
    Route("POST", "/validate/{user}/{a}", validation.validate, OWNER, "Copies"),
    Route("GET", "/validate-report/{user}/{a}", validation.validate_report, OWNER, "Copies"),
    # The hub itself
    Route("GET", "/health", pages.health, ANYONE, "Hub"),
    Route("GET", "/ready", pages.ready, ANYONE, "Hub"),
    Route("GET", "/api/status", pages.status, MEMBER, "Hub"),
    Route("GET", "/metrics", pages.metrics, METRICS),
    Route("GET", "/api/openapi.json", pages.openapi, MEMBER),
    Route("GET", "/api/docs", pages.api_docs, MEMBER),
)
"""Every route of the hub but the session paths, and those of systems that it may not have."""

MACHINE_ROUTES: tuple[Route, ...] = (
    Route("GET", "/course/machines", machines.machines_page, INSTRUCTOR),
    Route("GET", "/nodes", machines.list_nodes, INSTRUCTOR, "Nodes"),
    Route("POST", "/nodes/{name}/drain", machines.drain, INSTRUCTOR, "Nodes"),
    Route("POST", "/nodes/{name}/undrain", machines.undrain, INSTRUCTOR, "Nodes"),
    Route("POST", "/nodes/{name}/remove", machines.remove, INSTRUCTOR, "Nodes"),
)
"""The routes of the machines that run sessions, of hubs with nodes."""
