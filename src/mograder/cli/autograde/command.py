"""``mograder autograde``: from what students handed in to marks with their reasons."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from mograder.cli.autograde.output import Output, answer_of, preview_json, preview_lines, verify
from mograder.cli.autograde.selection import Chosen, Wanted, choose, choose_from_zip
from mograder.cli.files import save_file
from mograder.cli.gradebook.book import changed_book
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option, gathered
from mograder.cli.shared.options import DIRECTORY, EXISTING_FILE, FILE
from mograder.cli.shared.result import Result, json_option
from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import LoadedSettings, read_environ
from mograder.grading.submissions.autograde import Autograded, AutogradeRequest, autograde
from mograder.grading.submissions.comparison import ComparedRuns, compare_runs
from mograder.grading.submissions.grading_tools import GradingTools, lowered, open_grading_tools
from mograder.grading.submissions.result_forms import render_csv
from mograder.notebook.denied_code import denied_by
from mograder.sandbox.protocol import timed
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.grading_records import GradingRun

_LONGEST = 3600
_MOST_JOBS = 64
_UNPROTECTED = "With --no-sandbox marks are made that the submissions could have forged."


@dataclass(frozen=True, slots=True)
class _How:
    """The options that say how submissions are graded, and the settings of their course."""

    jobs: int | None
    timeout: int | None
    force: bool
    failed: bool
    safety_check: bool
    max_memory: int | None
    no_sandbox: bool
    loaded: LoadedSettings

    @property
    def at_once(self) -> int:
        return self.jobs or self.loaded.settings.defaults.jobs


@click.command("autograde")
@click.argument("arguments", nargs=-1, metavar="[ASSIGNMENTS]...")
@click.option(
    "--source", type=EXISTING_FILE, help="The notebook with the solutions.  [default: the course's]"
)
@click.option("--csv", "csv_file", type=FILE, help="Write a table of the results into this file.")
@click.option(
    "--moodle-csv",
    "worksheet",
    type=EXISTING_FILE,
    help="Moodle's grading worksheet, which says who is who in the zip.  "
    "[default: import/ASSIGNMENT.csv]",
)
@click.option(
    "--moodle-zip",
    "archive",
    type=EXISTING_FILE,
    help="Grade Moodle's “Download all submissions” instead of what was collected.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, _MOST_JOBS),
    help="Graded at a time.  [default: [defaults] jobs, 4]",
)
@click.option(
    "--timeout",
    type=click.IntRange(1, _LONGEST),
    help="Seconds for one notebook.  [default: [defaults] timeout, 300]",
)
@click.option(
    "-o",
    "--output-dir",
    "output",
    type=DIRECTORY,
    help="Where results are written.  [default: autograded/ASSIGNMENT]",
)
@click.option("--progress", is_flag=True, hidden=True, help="Events as JSON lines on stderr.")
@click.option("--force", is_flag=True, help="Grade again what is up to date.")
@click.option(
    "--safety-check",
    is_flag=True,
    help="Do not run a submission with code that [safety] denies.",
)
@click.option(
    "--max-memory",
    type=click.IntRange(1),
    metavar="MB",
    help="Memory for one notebook, at most that of a session.  [default: [rlimits] as]",
)
@click.option(
    "--student", "students", multiple=True, metavar="NAME", help="Grade only theirs; repeatable."
)
@click.option("--failed", is_flag=True, help="Grade only those without a result that counts.")
@click.option(
    "--preview",
    is_flag=True,
    help="Grade all, tell whose marks would change, and record nothing.",
)
@click.option(
    "--verify",
    "only_verify",
    is_flag=True,
    help="Compare the results with their signatures and files; grade nothing.",
)
@click.option(
    "--no-sandbox", is_flag=True, help="Run without protection: they can do whatever you can."
)
@json_option
@course_option
@gathered("how", _How)
@gathered("wanted", Wanted)
def autograde_command(
    *,
    wanted: Wanted,
    how: _How,
    csv_file: Path | None,
    progress: bool,
    preview: bool,
    only_verify: bool,
) -> Result:
    """Mark what students handed in.

    ASSIGNMENTS are names in the course's directory of submissions, or their beginnings up to a
    dash, or paths of directories or notebooks (in another course: with its gradebook), or a zip of
    submissions from Moodle. Each notebook runs in a sandbox, and its checks in another, so that no
    answer can change its mark. Results go into autograded/ and the gradebook. Results that are up
    to date stay; so run it again after an interruption. After a check was mended, --preview lists
    the students whose mark would change. Exits with 1 if a submission has no result that counts.
    """
    _refuse_contradictions(how, csv_file, verify=only_verify, look=preview)
    chosen = _chosen(wanted, how.loaded)
    how = replace(how, loaded=chosen[0].course)
    if only_verify:
        return verify(chosen, how.loaded)
    output = Output(jobs=how.at_once, events=progress)
    if preview:
        return _preview(chosen, how, output)
    done = _graded(chosen, how, output)
    if csv_file is not None:
        _write_table(csv_file, done, output)
    answers = [answer_of(*each) for each in zip(chosen, done, strict=True)]
    failed = any(row.needs_attention for each in done for row in each.rows)
    return Result({"version": 1, "assignments": answers}, status=int(failed))


def _refuse_contradictions(how: _How, csv_file: Path | None, *, verify: bool, look: bool) -> None:
    """Raise UsageError for options that do not fit; ``look`` is that of ``--preview``."""
    force, failed = how.force, how.failed
    if verify and (force or failed or csv_file):
        raise click.UsageError("--verify grades nothing: give it without --force, --failed, --csv.")
    if look and (failed or verify or csv_file):
        raise click.UsageError("--preview grades all: give it without --failed, --verify, --csv.")
    if failed and csv_file:
        raise click.UsageError("--csv is a table of all: give it without --failed.")
    if force and failed:
        raise click.UsageError("--force grades all again, --failed some: give one of them.")
    if csv_file is not None and not csv_file.absolute().parent.is_dir():
        raise click.UsageError(f"--csv: there is no directory {csv_file.parent}. Make it first.")


def _is_zip(argument: str) -> bool:
    return argument.endswith(".zip")


def _chosen(given: Wanted, loaded: LoadedSettings) -> tuple[Chosen, ...]:
    """Return the chosen submissions; an argument may be a zip, as that of ``--moodle-zip``."""
    archives = [
        *([given.archive] if given.archive else []),
        *map(Path, filter(_is_zip, given.arguments)),
    ]
    arguments = tuple(each for each in given.arguments if not _is_zip(each))
    if len(archives) > 1:
        raise click.UsageError("Give one zip at a time.")
    wanted = replace(given, arguments=arguments, archive=next(iter(archives), None))
    if wanted.archive is None:
        if wanted.worksheet is not None:
            raise click.UsageError("--moodle-csv says who is who in a --moodle-zip.")
        return choose(wanted, loaded)
    if len(wanted.arguments) > 1:
        raise click.UsageError("A zip is of one assignment.")
    made = tempfile.TemporaryDirectory(prefix="mograder-")
    workshop = click.get_current_context().with_resource(made)
    return (choose_from_zip(wanted, wanted.archive, loaded, Path(workshop)),)


def _graded(chosen: Sequence[Chosen], how: _How, output: Output) -> list[Autograded]:
    _refuse_unprotected(how)
    with changed_book(how.loaded) as gradebook:
        gradebook.put_students({})  # so that a locked gradebook is told before anything runs
        try:
            return asyncio.run(_grade_all(chosen, how, gradebook, output))
        except SandboxUnavailable as error:
            raise SandboxUnavailable(error.message, hint=f"{error.hint} {_UNPROTECTED}") from error
        except KeyboardInterrupt:
            output.close()
            click.echo("Interrupted: what is graded is kept; run it again to go on.", err=True)
            raise
        finally:
            output.close()


def _preview(chosen: Sequence[Chosen], how: _How, output: Output) -> Result:
    """Grade into a temporary directory, and print what recording the results would change."""
    _refuse_unprotected(how)
    with (
        viewed_gradebook(how.loaded.gradebook_path) as gradebook,
        tempfile.TemporaryDirectory(prefix="mograder-preview-") as place,
    ):
        try:
            found = asyncio.run(_compare_all(chosen, how, gradebook, Path(place), output))
        finally:
            output.close()
    answers = [preview_json(*each) for each in found]
    lines = (plain(line) for each in found for line in preview_lines(*each))
    return Result({"version": 1, "preview": answers}, lines)


async def _compare_all(
    chosen: Sequence[Chosen], how: _How, gradebook: Gradebook, place: Path, output: Output
) -> list[tuple[Chosen, ComparedRuns]]:
    found: list[tuple[Chosen, ComparedRuns]] = []
    async with _opened(how, output) as tools:
        for number, each in enumerate(chosen):
            seen = _Seen()
            output.prepares()
            request = replace(_request(each, how), output=place / str(number), force=True)
            await autograde(request, tools, seen, output)
            output.close()
            name = each.files.name
            works = {who: digest for who, (digest, _) in gradebook.last_works(name).items()}
            found.append((each, compare_runs(gradebook.grades(name), seen.runs, works)))
    return found


@dataclass(frozen=True, slots=True)
class _Seen:
    """The results of a preview, which are not recorded."""

    runs: list[GradingRun] = field(default_factory=list)

    def record_run(self, run: GradingRun) -> None:
        self.runs.append(run)

    def last_run(self, assignment: str, student: str, work: str = "") -> None:
        """Return None: everything is graded."""


def _refuse_unprotected(how: _How) -> None:
    if how.no_sandbox and how.loaded.settings.security.use_bubblewrap:
        raise click.UsageError("[security] use_bubblewrap is true: nothing runs without a sandbox.")


async def _grade_all(
    chosen: Sequence[Chosen], how: _How, gradebook: Gradebook, output: Output
) -> list[Autograded]:
    done: list[Autograded] = []
    async with _opened(how, output) as tools:
        for each in chosen:
            for note in each.notes:
                output.say(note)
            output.prepares()
            graded = await autograde(_request(each, how), tools, gradebook, output)
            output.finished(graded)
            done.append(graded)
    return done


@asynccontextmanager
async def _opened(how: _How, output: Output) -> AsyncIterator[GradingTools]:
    output.prepares()
    output.progress("Starting the sandboxes")
    sandbox = not how.no_sandbox
    tools = open_grading_tools(how.loaded, read_environ(), jobs=how.at_once, sandbox=sandbox)
    async with tools as opened:
        output.close()
        yield opened


def _request(chosen: Chosen, how: _How) -> AutogradeRequest:
    settings = how.loaded.settings
    return AutogradeRequest(
        files=chosen.files,
        submissions=chosen.submissions,
        output=chosen.output,
        jobs=how.at_once,
        force=how.force,
        failed=how.failed,
        whole=chosen.whole,
        denied=denied_by(settings.safety) if how.safety_check else None,
        limits=lambda limits: lowered(limits, settings.rlimits, how.max_memory),
        deadlines=lambda deadlines: timed(deadlines, how.timeout or settings.defaults.timeout),
    )


def _write_table(file: Path, done: Sequence[Autograded], output: Output) -> None:
    """Write one table of the submissions for each assignment."""
    tables = (render_csv(each.rows, each.columns) for each in done)
    save_file(file, "\r\n".join(tables))
    output.say("")
    output.say(f"CSV written to {file}")
