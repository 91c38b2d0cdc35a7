"""``mograder quality``: what the checks of a source do not notice, and what they depend on."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import click

from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import EXISTING_DIRECTORY, sandbox_options
from mograder.cli.shared.output import counting
from mograder.cli.shared.result import Result, json_option, tell
from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.core.settings import LoadedSettings, read_environ
from mograder.grading.author.author_runs import AuthorRuns, open_runs
from mograder.grading.author.quality import QualityOptions, QualityWatch, examine
from mograder.grading.author.quality_trials import QualityReport
from mograder.sandbox.environments.runtime_wheel import offer_runtime
from mograder.store.course.course import SourceItem, find_source, shown

if sys.platform == "linux":
    from mograder.grading.author.submission_findings import submissions_in

_INTERRUPTED = 130
_FOUND = 1
_MANY_RUNS = 100


@click.command("quality")
@click.argument("assignments", nargs=-1, required=True)
@click.option(
    "--time",
    "budget",
    type=click.FloatRange(1),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long wrong solutions are tried, for each notebook.",
)
@click.option(
    "--mutants",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="How many wrong solutions are tried at most.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Chooses which ones, if there are more."
)
@click.option(
    "--submissions",
    type=EXISTING_DIRECTORY,
    help="Judge the submissions in this directory, too: who passes what.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 64),
    default=None,
    help="How many notebooks run at a time.  [default: one for each processor]",
)
@sandbox_options
@json_option
@course_option
def quality(  # noqa: PLR0913  # one argument per option
    *,
    assignments: tuple[str, ...],
    budget: float,
    mutants: int,
    seed: int,
    submissions: Path | None,
    jobs: int | None,
    no_sandbox: bool,
    own_python: bool,
    loaded: LoadedSettings,
) -> Result:
    """Check the checks of sources.

    ASSIGNMENTS are names in the course's source directory, or their beginnings up to a dash, or
    paths. Small mistakes are put into the solution, one at a time, and the checks run: a mistake
    that no check notices is a finding. So are checks that pass for junk or for the release without
    answers, checks that depend on random numbers, on the date or on the machine, and hidden tests
    that the release gives away. With --submissions, checks that nearly everybody or hardly anybody
    passes are told as well.

    Nothing is written. The exit status is 0 if there are no findings, and 1 if there are some.
    Ctrl+C ends it early and tells what was found until then.
    """
    items = [find_source(each, loaded.path(loaded.settings.dirs.source)) for each in assignments]
    offer_runtime(loaded.state_dir / "runtime")
    chosen = jobs or os.cpu_count() or 2
    opening = open_runs(
        *(loaded, read_environ(), lambda message: click.echo(f"Warning: {message}", err=True)),
        runs=_MANY_RUNS,
        jobs=chosen,
        sandbox=not (no_sandbox or own_python),
        own_python=own_python,
    )
    common = QualityOptions(mutants=mutants, seed=seed, jobs=chosen, budget=budget)
    wanted = [(path, _options(loaded, item, common)) for item in items for path in item.notebooks]
    if submissions is not None:
        if len(wanted) > 1:
            raise click.UsageError("--submissions belong to one notebook; name only that one.")
        (path, options) = wanted[0]
        wanted = [(path, _with_submissions(loaded, items[0], options, submissions))]
    reports = [QualityReport(shown(path)) for path, _ in wanted]
    return _run(wanted, reports, opening)


def _run(
    wanted: Sequence[tuple[Path, QualityOptions]],
    reports: Sequence[QualityReport],
    opening: AbstractAsyncContextManager[AuthorRuns],
) -> Result:
    """Examine the notebooks; also what was found before a mistake in a later one is a result."""

    async def examine_all(watch: QualityWatch) -> None:
        async with opening as runs:  # one after the other: the runs of each use all processors
            for (path, options), report in zip(wanted, reports, strict=True):
                await examine(path, runs, options, watch, report)

    failure, status = None, 0
    try:
        with ExitStack() as stack:
            asyncio.run(examine_all(_Watch(stack)))
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except MograderError as error:
        failure = error
    else:
        status = _FOUND if any(each.findings or not each.complete for each in reports) else 0
    told = [each for each in reports if each.seconds]
    data = {"notebooks": [each.as_data() for each in told]}
    return Result(data, map(plain, _lines(told)), status, failure=failure)


def _options(loaded: LoadedSettings, item: SourceItem, common: QualityOptions) -> QualityOptions:
    settings = loaded.settings
    unprotected = settings.of_item(item.name).unprotected
    seconds = settings.defaults.timeout
    return replace(common, seconds=seconds, item=item.name, unprotected=unprotected)


def _with_submissions(
    loaded: LoadedSettings, item: SourceItem, options: QualityOptions, directory: Path
) -> QualityOptions:
    if sys.platform == "linux":
        released = loaded.path(loaded.settings.dirs.release) / item.name
        folder = released if released.is_dir() else item.directory
        return replace(options, submissions=submissions_in(directory, folder.absolute()))
    else:  # noqa: RET505 - mypy takes no other form for a choice by system
        raise SandboxUnavailable("Submissions are run in sandboxes, which only Linux has.")


class _Watch(QualityWatch):
    """Shows the estimate as a line, and the progress as a bar."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._advance: Callable[[], None] | None = None

    def say(self, filename: str, message: str) -> None:
        if self._advance is None:
            tell(f"  {filename}: {message}", err=True)

    def planned(self, filename: str, runs: int, seconds: float) -> None:
        about = f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
        tell(f"  {filename}: {runs} runs, about {about}; Ctrl+C ends it early", err=True)
        self._stack.close()  # the bar of the notebook before
        self._advance = self._stack.enter_context(counting(runs, filename))

    def done(self) -> None:
        if self._advance is not None:
            self._advance()


def _lines(reports: Sequence[QualityReport]) -> Iterator[str]:
    for report in reports:
        for finding in sorted(report.findings):
            yield from finding.lines()
        yield from (f"{report.filename}: {note}" for note in report.notes)
        yield report.summary()
