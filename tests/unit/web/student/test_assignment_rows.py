"""The rows of the student's own dashboard, as its page shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.clients.course_server import RemoteAssignment, RemoteDraft, WorkState, WorkStatus
from mograder.exchange.student.course import KnownItem
from mograder.exchange.student.drafts import Elsewhere
from mograder.store.copies.student_folder import Notebook, Waiting
from mograder.web.pages import load_pages
from mograder.web.student.views import AssignmentRow

NOW = datetime(2026, 9, 1, 9, tzinfo=UTC)


def row(standing: WorkStatus, due: datetime | None = None, *, temporary: bool = False) -> str:
    """Return the dashboard with one assignment, whose notebook is in its folder."""
    item = KnownItem(
        folder="A1", assignment=RemoteAssignment("1", "A1", due=due), standing=standing
    )
    notebook = Notebook("A1", Path("A1/A1.py"), NOW.timestamp())
    line = AssignmentRow(item, notebook, "edited", None, None, None, False, (), False, None)
    page = {"course": "C", "local": "here", "viewer": None, "now": NOW, "done": "", "known": None}
    more = {"looking": False, "trouble": "", "done_item": "", "lines": [line], "token": ""}
    return load_pages().render("student/home.html", "", temporary=temporary, **page, **more)


@pytest.mark.parametrize("temporary", [True, False])
def test_a_folder_in_which_the_editor_does_not_save_is_told(temporary: bool) -> None:
    text = row(WorkStatus(WorkState.NEW), temporary=temporary)
    assert ("the editor does not save in it" in text) is temporary
    assert ("your work saves itself there" in text) is not temporary


@pytest.mark.parametrize(
    ("reason", "asks"), [("", True), ("It is handed in already; only your teacher …", False)]
)
def test_edited_work_is_to_be_submitted_again_where_the_server_takes_it(
    reason: str, asks: bool
) -> None:
    standing = WorkStatus(
        WorkState.SUBMITTED, submitted_at=NOW, can_submit=not reason, why_not=reason
    )
    text = row(standing)
    assert "edited since" in text
    assert ("submit again?" in text, ">Submit again<" in text) == (asks, asks)


@pytest.mark.parametrize("late", [False, True])
def test_a_due_date_that_was_missed_stands_out_after_late_work_too(*, late: bool) -> None:
    sent = NOW - timedelta(hours=1 if late else 3)
    standing = WorkStatus(WorkState.SUBMITTED, submitted_at=sent, late=late)
    text = row(standing, NOW - timedelta(hours=2))
    assert ('<span class="late">was due' in text) == late


@pytest.mark.parametrize("page", ["late", "newer"])
@pytest.mark.parametrize(("waits", "older"), [(False, False), (True, False), (True, True)])
def test_what_is_here_and_an_older_text_that_waits_have_buttons_of_their_own(
    page: str, *, waits: bool, older: bool
) -> None:
    """*Submit what is here* sent what was kept an hour before."""
    item = KnownItem(folder="A1", assignment=RemoteAssignment("1", "A1"))
    line = AssignmentRow(
        item=item,
        notebook=Notebook("A1", Path("A1/A1.py"), NOW.timestamp()),
        state="edited",
        sent=None,
        waiting=Waiting(file="A1.py", digest="0", file_mtime=0, kept_at=NOW) if waits else None,
        result=None,
        stale=False,
        documents=(),
        editing=False,
        elsewhere=Elsewhere(RemoteDraft("v1", NOW)),
        waits_as_before=older,
    )
    context = {"course": "C", "local": "here", "viewer": None, "line": line}
    text = load_pages().render(f"student/{page}.html", "", **context)
    assert ('action="/send/A1"' in text) == waits
    assert ('action="/submit/A1"' in text) == (older or not waits)
