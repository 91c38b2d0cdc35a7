"""``mograder moodle``: the commands around a course on Moodle (compatibility-0.3.16.md 11)."""

from __future__ import annotations

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup, Needs

_PACKAGES = Needs.SERVER_PACKAGES


@click.group(
    cls=LazyGroup,
    table={
        "login": Lazy("mograder.cli.moodle.login:login"),
        "sync": Lazy("mograder.cli.moodle.course:sync", _PACKAGES),
        "sync-users": Lazy("mograder.cli.moodle.users:sync_users", _PACKAGES),
        "fetch": Lazy("mograder.cli.moodle.student:fetch"),
        "submit": Lazy("mograder.cli.moodle.student:submit"),
        "feedback": Lazy("mograder.cli.moodle.student:feedback"),
        "fetch-submissions": Lazy("mograder.cli.moodle.collect:fetch_submissions", _PACKAGES),
        "upload-feedback": Lazy("mograder.cli.moodle.upload_feedback:upload_feedback", _PACKAGES),
        "export": Lazy("mograder.cli.moodle.export:export", _PACKAGES),
        "upload": Lazy("mograder.cli.moodle.upload:upload", _PACKAGES),
    },
)
def moodle() -> None:
    """Hand out, collect and grade with a Moodle course.

    An ordinary teacher's account is enough. Sign in once by `mograder moodle login`, then run
    `mograder moodle sync` in the course.
    """
