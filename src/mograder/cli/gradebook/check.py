"""``mograder gradebook check``: damage, and marks that mean something else than they seem to."""

from __future__ import annotations

from functools import cache

import click

from mograder.cli.gradebook.book import assignment_named
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.core.settings import LoadedSettings
from mograder.grading.results.grading_result import grading_key
from mograder.grading.results.recorded_results import result_of_run
from mograder.operations.gradebook_checks import Verifies, all_well, check_gradebook
from mograder.operations.report import problems
from mograder.store.gradebook.gradebook import viewed_gradebook


@click.command("check")
@click.argument("assignments", nargs=-1)
@course_option
@click.pass_context
def check(ctx: click.Context, /, *, assignments: tuple[str, ...], loaded: LoadedSettings) -> None:
    """Find damage, and marks that need a look.

    Among these are totals that 0.3.16 computed wrongly, marks that it exported without their
    penalty, and marks without a submission. Nothing is changed. It ends with 1 if there is damage.
    """
    names: list[str] = []
    if assignments:
        with viewed_gradebook(loaded.gradebook_path) as book:
            names = [assignment_named(book, each) for each in assignments]
    lines = tuple(all_well(check_gradebook(loaded, _verifies(loaded), names)))
    for line in lines:
        click.echo(plain(str(line)))
        if line.hint:
            click.echo(plain(f"       {line.hint}"))
    if problems(lines):
        ctx.exit(1)


def _verifies(loaded: LoadedSettings) -> Verifies:
    """Return the check of signatures; the key is read, or made, for the first one only."""
    key = cache(lambda: grading_key(loaded))

    return lambda run: not result_of_run(key(), run).problem
