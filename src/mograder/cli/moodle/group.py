"""``mograder moodle``: the commands around a course on Moodle (compatibility-0.3.16.md 11)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup


class _Moodle(LazyGroup):
    table: ClassVar[Mapping[str, Lazy]] = MappingProxyType(
        {
            "login": Lazy("mograder.cli.moodle.login:login", "Sign in to a Moodle."),
            "sync": Lazy(
                "mograder.cli.moodle.course:sync",
                "Write the course's assignments into mograder.toml.",
                server_side=True,
            ),
            "sync-users": Lazy(
                "mograder.cli.moodle.users:sync_users",
                "Let the course's students use the hub.",
                server_side=True,
            ),
            "fetch": Lazy("mograder.cli.moodle.student:fetch", "Fetch an assignment's files."),
            "submit": Lazy("mograder.cli.moodle.student:submit", "Hand in a notebook."),
            "feedback": Lazy(
                "mograder.cli.moodle.student:feedback", "Show your status, grade and feedback."
            ),
            "fetch-submissions": Lazy(
                "mograder.cli.moodle.collect:fetch_submissions",
                "Fetch what students handed in.",
                server_side=True,
            ),
            "upload-feedback": Lazy(
                "mograder.cli.moodle.upload_feedback:upload_feedback",
                "Send grades and feedback to Moodle.",
                server_side=True,
            ),
            "export": Lazy(
                "mograder.cli.moodle.export:export",
                "Fill Moodle's grading worksheet, to be uploaded by hand.",
                server_side=True,
            ),
            "upload": Lazy(
                "mograder.cli.moodle.upload:upload",
                "Attach an assignment's files on Moodle.",
                server_side=True,
            ),
        }
    )


@click.group(cls=_Moodle)
def moodle() -> None:
    """Hand out, collect and grade with a Moodle course.

    An ordinary teacher's account is enough. Sign in once by `mograder moodle login`, then run
    `mograder moodle sync` in the course.
    """
