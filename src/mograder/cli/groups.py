"""The groups of commands but `mograder hub`'s: a table each, read without importing a command."""

from __future__ import annotations

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup, Needs

_STUDENT, _TEACHER = "mograder.cli.https.student", "mograder.cli.https.instructor"
_PACKAGES = Needs.SERVER_PACKAGES


@click.group(
    cls=LazyGroup,
    table={
        "run": Lazy("mograder.cli.node:run"),
        "drain": Lazy("mograder.cli.node:drain"),
        "check": Lazy("mograder.cli.node:check"),
    },
)
def node() -> None:
    """Run notebooks on this machine for a hub on another one.

    Give it the token that `mograder hub node-token` prints.
    """


@click.group(
    cls=LazyGroup,
    table={
        "add": Lazy("mograder.cli.extension:add"),
        "remove": Lazy("mograder.cli.extension:remove"),
        "list": Lazy("mograder.cli.extension:show"),
        "import": Lazy("mograder.cli.extension:import_csv"),
        "export": Lazy("mograder.cli.extension:export"),
        "group": Lazy("mograder.cli.extension:group_command"),
        "policy": Lazy("mograder.cli.extension:policy"),
    },
)
def extension() -> None:
    """Give extensions and exemptions, and set the rule for late work.

    Marks follow at once, without grading again: deductions are computed from the stored times of
    submission whenever marks are shown. `--dry-run` lists the marks that would change. Nothing is
    overwritten: the gradebook keeps each change with its author and time.
    """


@click.group(
    "https",
    cls=LazyGroup,
    table={
        "login": Lazy(f"{_STUDENT}:login"),
        "register": Lazy(f"{_STUDENT}:register_command"),
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


@click.group(
    cls=LazyGroup,
    table={
        "show": Lazy("mograder.cli.gradebook.show:show"),
        "explain": Lazy("mograder.cli.gradebook.explain:explain"),
        "mark": Lazy("mograder.cli.gradebook.mark:mark"),
        "confirm": Lazy("mograder.cli.gradebook.mark:confirm"),
        "import": Lazy("mograder.cli.gradebook.mark:import_marks"),
        "statistics": Lazy("mograder.cli.gradebook.show:statistics"),
        "export": Lazy("mograder.cli.gradebook.export:export"),
        "release": Lazy("mograder.cli.gradebook.release:release"),
        "withdraw": Lazy("mograder.cli.gradebook.release:withdraw"),
        "import-0316": Lazy("mograder.cli.gradebook.exchange_0316:import_0316"),
        "export-0316": Lazy("mograder.cli.gradebook.exchange_0316:export_0316"),
        "check": Lazy("mograder.cli.gradebook.check:check"),
    },
)
def gradebook() -> None:
    """Look after the marks of a course.

    They are in gradebook.db. A person's mark counts before the one by grading, and no mark is ever
    overwritten: explain shows all of them.
    """


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
