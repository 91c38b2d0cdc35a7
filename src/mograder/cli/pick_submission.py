"""``mograder extension pick``: the submission that counts, where a hub or a server keeps them."""

from __future__ import annotations

import click

from mograder.cli.extension import opened
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.core.item_dates import course_zone
from mograder.core.names import ItemName, Username
from mograder.core.settings import LoadedSettings
from mograder.grading.late_work import moment
from mograder.store.submissions.history import RECEIPTS
from mograder.store.submissions.submissions import Submissions


@click.command("pick")
@click.argument("assignment")
@click.argument("student")
@click.argument("number", type=click.IntRange(min=1))
@course_option
def pick(*, assignment: str, student: str, number: int, loaded: LoadedSettings) -> None:
    """Let a submission count that was kept beside the one that does.

    A late version does not replace one that was in time, also where an extension comes afterwards.
    NUMBER is that of its receipt. `mograder autograde` grades it then; the others are kept.
    """
    with opened(loaded, writes=False) as extensions:
        name = ItemName.parse(extensions.named(assignment))
    directory = loaded.path(loaded.settings.dirs.submitted)
    submissions = Submissions(directory, records=loaded.state_dir / RECEIPTS)
    found = submissions.pick(Username.parse(student), name, number)
    received = moment(found.received, course_zone(loaded.settings))
    click.echo(plain(f"{student}, {name}: submission {number} counts, received {received}."))
