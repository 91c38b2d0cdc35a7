"""``mograder https``: a course on an assignment server (B148-B155)."""

from __future__ import annotations

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup, Needs

_STUDENT, _TEACHER = "mograder.cli.https.student", "mograder.cli.https.instructor"
_PACKAGES = Needs.SERVER_PACKAGES


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
        "fetch-submissions": Lazy(f"{_TEACHER}:fetch_submissions", _PACKAGES),
        "upload-grades": Lazy(f"{_TEACHER}:upload_grades", _PACKAGES),
        "upload-feedback": Lazy(f"{_TEACHER}:upload_feedback", _PACKAGES),
        "export-web": Lazy("mograder.cli.https.export_web:export_web", Needs.LINUX),
        "reset": Lazy(f"{_TEACHER}:reset", _PACKAGES),
    },
)
def https() -> None:
    """Fetch, submit and grade over an assignment server."""
