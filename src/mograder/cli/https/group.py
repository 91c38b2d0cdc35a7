"""``mograder https``: a course on an assignment server (B148-B155)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup

_STUDENT, _TEACHER = "mograder.cli.https.student", "mograder.cli.https.instructor"


class _Https(LazyGroup):
    table: ClassVar[Mapping[str, Lazy]] = MappingProxyType(
        {
            "login": Lazy("mograder.cli.https.login:login", "Keep a token for a server."),
            "register": Lazy(
                "mograder.cli.https.login:register_command",
                "Join a course with its enrollment code.",
            ),
            "fetch": Lazy(f"{_STUDENT}:fetch_command", "Download an assignment, or list them all."),
            "submit": Lazy(f"{_STUDENT}:submit_command", "Hand a notebook in."),
            "feedback": Lazy(
                f"{_STUDENT}:feedback_command", "Show your status, grade and feedback."
            ),
            "receipt": Lazy(
                "mograder.cli.https.receipt:receipt", "Look at the receipts of what was handed in."
            ),
            "fetch-submissions": Lazy(
                f"{_TEACHER}:fetch_submissions",
                "Download what was handed in (instructors).",
                server_side=True,
            ),
            "upload-grades": Lazy(
                f"{_TEACHER}:upload_grades", "Upload grades (instructors).", server_side=True
            ),
            "upload-feedback": Lazy(
                f"{_TEACHER}:upload_feedback",
                "Upload pages of feedback (instructors).",
                server_side=True,
            ),
            "export-web": Lazy(
                "mograder.cli.https.export_web:export_web",
                "Make an item's page for the browser alone (instructors).",
                server_side=True,
            ),
            "reset": Lazy(
                f"{_TEACHER}:reset", "Let a name register again (instructors).", server_side=True
            ),
        }
    )


@click.group("https", cls=_Https)
def https() -> None:
    """Fetch, submit and grade over an assignment server."""
