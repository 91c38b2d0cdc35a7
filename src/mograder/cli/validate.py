"""``mograder validate``: run notebooks against their checks, in the sandbox, on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.cli.course import load_course
from mograder.cli.options import Given, course_dir_option, json_option
from mograder.cli.output import reporting
from mograder.core.errors import InvalidInput, MograderError, TooLarge
from mograder.core.settings import LoadedSettings, read_environ
from mograder.grading.report import ValidationReport
from mograder.grading.report_html import render_html
from mograder.grading.report_json import answer_of
from mograder.grading.report_text import render_text
from mograder.grading.validate import Submission, validate
from mograder.grading.workbench import Workbench, open_workbench
from mograder.notebook.syntax import MAX_NOTEBOOK
from mograder.sandbox.execution import Outcome
from mograder.store.files import atomic_write

_LONGEST = 3600


@dataclass(frozen=True, slots=True)
class _Wishes:
    release: Path | None
    html: Path | None
    seconds: int
    jobs: int
    sandbox: bool


@click.command("validate")
@click.argument(
    "notebooks",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--release",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The released notebook: its checks run, whatever became of them.",
)
@click.option(
    "--timeout",
    type=click.IntRange(1, _LONGEST),
    default=300,
    show_default=True,
    help="Seconds for one notebook.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Run at a time."
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    help="Write each report as NOTEBOOK.html into this directory.",
)
@click.option(
    "--no-sandbox", is_flag=True, help="Run without protection: they can do whatever you can."
)
@json_option
@course_dir_option
def validate_command(  # one argument per option
    notebooks: tuple[Path, ...],
    *,
    release: Path | None,
    timeout: int,
    jobs: int,
    html: Path | None,
    no_sandbox: bool,
    as_json: bool,
    course_dir: Path | None,
) -> None:
    """Run NOTEBOOKS against their checks and report each check and each failing cell.

    A copy of each runs in a sandbox; the files stay as they are. Exits with 1 unless every check
    that counts succeeded and no cell had an error.
    """
    loaded = load_course(Given(), course_dir)
    wishes = _Wishes(release, html, timeout, jobs, not no_sandbox)
    with reporting(quiet=as_json) as say:
        reports = asyncio.run(_validate_all(loaded, notebooks, wishes, say))
    if html is not None:
        _write_pages(html, notebooks, reports)
    if as_json:
        answers = [answer_of(each, html_available=html is not None) for each in reports]
        listed = [answer.model_dump(mode="json") for answer in answers]
        click.echo(json.dumps(listed, indent=2, ensure_ascii=False))
    else:
        for report in reports:
            click.echo(render_text(report), nl=False)
    if not all(report.ok for report in reports):
        raise SystemExit(1)


async def _validate_all(
    loaded: LoadedSettings, notebooks: tuple[Path, ...], wishes: _Wishes, say: Callable[[str], None]
) -> list[ValidationReport]:
    release = None if wishes.release is None else _read(wishes.release)
    texts = [_read(path) for path in notebooks]
    say("Preparing the sandbox")
    runs, jobs = len(notebooks), wishes.jobs
    async with open_workbench(
        loaded, read_environ(), sandbox=wishes.sandbox, runs=runs, jobs=jobs
    ) as workbench:
        work = _Work(workbench, release, wishes.seconds, say)
        try:
            async with asyncio.TaskGroup() as tasks:
                started = [
                    tasks.create_task(work.validate(path, text))
                    for path, text in zip(notebooks, texts, strict=True)
                ]
        except ExceptionGroup as group:
            told = group.subgroup(MograderError)
            raise (told or group).exceptions[0] from None
    return [each.result() for each in started]


@dataclass(frozen=True, slots=True)
class _Work:
    """What all runs of one call share."""

    workbench: Workbench
    release: str | None
    seconds: int
    say: Callable[[str], None]

    async def validate(self, path: Path, text: str) -> ValidationReport:
        """Validate one; what is wrong with its own header is a report like any other."""
        bench, release = self.workbench, self.release
        try:
            # The release's own header, where there is one: a student's chooses no packages.
            environment = await bench.environment(text if release is None else release, self.say)
        except InvalidInput as error:
            return ValidationReport(str(path), Outcome.UNREADABLE, str(error))
        self.say(f"Running {path.name}")
        seconds, folder = self.seconds, path.parent
        return await validate(
            Submission(text, str(path), environment, bench.limits, seconds, release, folder),
            bench.executor,
        )


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_NOTEBOOK + 1)
    if len(data) > MAX_NOTEBOOK:
        raise TooLarge(f"{path} is larger than {MAX_NOTEBOOK // 1_000_000} MB.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} is no text in UTF-8.", hint="Open it in marimo and save it."
        ) from error


def _write_pages(
    directory: Path, notebooks: tuple[Path, ...], reports: list[ValidationReport]
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for path, report in zip(notebooks, reports, strict=True):
        atomic_write(directory / f"{path.stem}.html", render_html(report).encode())
