"""``mograder https``: a course on an assignment server (B148-B155)."""

from __future__ import annotations

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup

_STUDENT, _TEACHER = "mograder.cli.https.student", "mograder.cli.https.instructor"


@click.group(
    "https",
    cls=LazyGroup,
    table={
        "login": Lazy("mograder.cli.https.login:login"),
        "register": Lazy("mograder.cli.https.login:register_command"),
        "fetch": Lazy(f"{_STUDENT}:fetch_command"),
        "submit": Lazy(f"{_STUDENT}:submit_command"),
        "feedback": Lazy(f"{_STUDENT}:feedback_command"),
        "receipt": Lazy("mograder.cli.https.receipt:receipt"),
        "fetch-submissions": Lazy(f"{_TEACHER}:fetch_submissions", server_side=True),
        "upload-grades": Lazy(f"{_TEACHER}:upload_grades", server_side=True),
        "upload-feedback": Lazy(f"{_TEACHER}:upload_feedback", server_side=True),
        "export-web": Lazy("mograder.cli.https.export_web:export_web", server_side=True),
        "reset": Lazy(f"{_TEACHER}:reset", server_side=True),
    },
)
def https() -> None:
    """Fetch, submit and grade over an assignment server."""
