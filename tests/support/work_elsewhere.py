"""Work of a student elsewhere: in a browser, or by a program that keeps no drafts."""

from __future__ import annotations

from pathlib import Path

from mograder.clients.assignment_server.client import HttpsTransport
from mograder.clients.course_server import RemoteAssignment


def save_in_browser(url: str, token: str, item: str, text: str) -> None:
    """Save a draft as a browser does that has seen the version before."""
    assignment = RemoteAssignment(item, item)
    with HttpsTransport(url, token) as browser:
        facts = browser.work_status(assignment).draft
        assert facts is not None
        browser.save_draft(assignment, text.encode(), facts.tag)


def draft_of(url: str, token: str, item: str) -> str:
    """Return the text of the draft on the server."""
    with HttpsTransport(url, token) as browser:
        return browser.draft(RemoteAssignment(item, item))[1].decode()


def submit_without_draft(url: str, token: str, item: str, file: Path) -> None:
    """Submit as `mograder.runtime` does, or a client of 0.3.16."""
    with HttpsTransport(url, token) as other:
        other.submit(RemoteAssignment(item, item), file)
