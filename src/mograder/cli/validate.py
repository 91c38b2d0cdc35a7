"""``mograder validate``: run notebooks against their checks, in the sandbox, on this machine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.cli.shared.console import coloured
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import DIRECTORY, EXISTING_PATH
from mograder.cli.shared.output import reporting
from mograder.cli.shared.result import Result, json_option
from mograder.core.errors import InvalidInput, MograderError, SandboxUnavailable, TooLarge
from mograder.core.operating_system import SYSTEM_NAME
from mograder.core.settings import LoadedSettings, read_environ
from mograder.grading.validate import Submission, validate
from mograder.grading.validation_report import ValidationReport, answer_of, render_html, render_text
from mograder.grading.workbench import UNPROTECTED, Workbench, open_workbench
from mograder.notebook.header_edit import read_key
from mograder.sandbox.execution.report import Outcome
from mograder.store.course.course import find_notebooks, find_release, read_notebook, shown
from mograder.store.filesystem.files import atomic_write

_LONGEST = 3600
_MOST_STEPS = 20
_FETCHED = ".mograder/release"
"""Where ``fetch`` keeps releases, below the directory that it writes into."""

_ASSIGNMENT = "mograder-assignment"
_TRUSTED = "Code that you trust as your own runs without one with --no-sandbox."


@click.command("validate")
@click.argument("assignments", nargs=-1, required=True)
@click.option(
    "--release",
    type=EXISTING_PATH,
    help="The released notebook, or a directory of releases.  [default: the course's]",
)
@click.option(
    "--timeout",
    type=click.IntRange(1, _LONGEST),
    help="Seconds for one notebook.  [default: [defaults] timeout, 300]",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Run at a time."
)
@click.option(
    "--html", type=DIRECTORY, help="Write each report as NOTEBOOK.html into this directory."
)
@click.option(
    "--no-sandbox", is_flag=True, help="Run without protection: they can do whatever you can."
)
@click.option("--fix", is_flag=True, hidden=True, help="Has no effect: no file is changed.")
@json_option
@course_option
def validate_command(  # one argument per option
    assignments: tuple[str, ...],
    *,
    release: Path | None,
    timeout: int | None,
    jobs: int,
    html: Path | None,
    no_sandbox: bool,
    fix: bool,
    loaded: LoadedSettings,
) -> Result:
    """Run notebooks against their checks.

    Each check and each failing cell is reported. ASSIGNMENTS are names in the course's source or
    release directory, or their beginnings up to a dash, or paths. A copy of each notebook runs, on
    Linux in a sandbox; the files stay as they are. A copy of a release is compared with it, and
    runs with the checks as released. Exits with 1 unless every check that counts succeeded and no
    cell had an error.
    """
    if no_sandbox and loaded.settings.security.use_bubblewrap:
        raise click.UsageError("[security] use_bubblewrap is true: nothing runs without a sandbox.")
    if fix:  # accepted for 0.3.16, which changed the student's file
        click.echo("Warning: --fix has no effect: no file is changed.", err=True)
    seconds = timeout or loaded.settings.defaults.timeout
    notebooks = _notebooks(assignments, loaded)
    _warn(notebooks, loaded, no_sandbox=no_sandbox)
    pairs = [_read(path, release, loaded) for path in notebooks]
    try:
        with reporting() as say:
            opening = open_workbench(
                loaded,
                read_environ(),
                sandbox=not no_sandbox,
                runs=len(notebooks),
                jobs=jobs,
            )
            say("Preparing" if no_sandbox or UNPROTECTED else "Preparing the sandbox")
            reports = asyncio.run(_validate_all(opening, notebooks, pairs, seconds, say))
    except SandboxUnavailable as error:
        if loaded.settings.security.use_bubblewrap:
            raise
        raise SandboxUnavailable(error.message, hint=f"{error.hint} {_TRUSTED}") from error
    if html is not None:
        _write_pages(html, notebooks, reports)
    answers = [answer_of(each, html_available=html is not None) for each in reports]
    told = [answer.model_dump(mode="json") for answer in answers]
    lines = (coloured(render_text(report)).removesuffix("\n") for report in reports)
    return Result(told, lines, int(not all(report.ok for report in reports)))


@dataclass(frozen=True, slots=True)
class _Read:
    """A notebook to run: ``release`` is the text it was made from, None if that is not known.

    Its limits are those of the item of this name, and of the script block in ``header``. ``folder``
    has the files beside it, None for no files.
    """

    text: str
    release: str | None
    header: str
    item: str
    folder: Path | None


def _notebooks(arguments: Sequence[str], loaded: LoadedSettings) -> tuple[Path, ...]:
    bases = (loaded.path(loaded.settings.dirs.source), *_releases(loaded))
    found = (path for argument in arguments for path in find_notebooks(argument, bases))
    return tuple(dict.fromkeys(found))


def _warn(notebooks: Sequence[Path], loaded: LoadedSettings, *, no_sandbox: bool) -> None:
    """Say that nothing protects this machine, if so; refuse a submission where no sandbox is."""
    if no_sandbox:
        click.echo("Warning: nothing protects this machine from what runs now.", err=True)
        return
    if not UNPROTECTED:
        return
    click.echo(f"Warning: {UNPROTECTED}", err=True)
    for path in notebooks:
        if _is_below(path, loaded.settings.dirs.submitted, loaded):
            raise SandboxUnavailable(
                f"{shown(path)} is a submission, and {SYSTEM_NAME} has no sandbox for it.",
                hint=_TRUSTED,
            )


def _releases(loaded: LoadedSettings) -> tuple[Path, ...]:
    """Return where a release may be: made, published, or fetched (compatibility-0.3.16.md 4)."""
    settings = loaded.settings
    wanted = (settings.dirs.release, settings.hub.release_dir, _FETCHED)
    return tuple(map(loaded.path, wanted))


async def _validate_all(
    opening: AbstractAsyncContextManager[Workbench],
    notebooks: tuple[Path, ...],
    texts: Sequence[_Read | ValidationReport],
    seconds: int,
    say: Callable[[str], None],
) -> list[ValidationReport]:
    async with opening as workbench:
        try:
            async with asyncio.TaskGroup() as tasks:
                started = [
                    tasks.create_task(_validate(workbench, path, read, seconds, say))
                    for path, read in zip(notebooks, texts, strict=True)
                ]
        except ExceptionGroup as group:
            told = group.subgroup(MograderError)
            raise (told or group).exceptions[0] from None
    return [each.result() for each in started]


async def _validate(
    workbench: Workbench,
    path: Path,
    read: _Read | ValidationReport,
    seconds: int,
    say: Callable[[str], None],
) -> ValidationReport:
    """Validate one notebook; an error in its own header gives a report like any other."""
    if isinstance(read, ValidationReport):
        return read
    name = shown(path)
    try:
        # If there is a release, its header decides: students must not choose packages.
        packages = read.text if read.release is None else read.release
        environment = await workbench.environment(packages, say)
        limits = workbench.limits(read.header, read.item)
    except InvalidInput as error:
        return ValidationReport(name, Outcome.UNREADABLE, str(error))
    say(f"Running {name}")
    return await validate(
        Submission(read.text, name, environment, limits, seconds, read.release, read.folder),
        workbench.runner.execute,
    )


def _read(path: Path, release: Path | None, loaded: LoadedSettings) -> _Read | ValidationReport:
    """Return a notebook as it is to be run, or the report of a file that cannot be read.

    What is beside a submission are others' submissions, so it gets the files of its release.
    """
    try:
        text = read_notebook(path)
    except (InvalidInput, TooLarge) as error:
        return ValidationReport(shown(path), Outcome.UNREADABLE, str(error))
    if release is not None and release.is_file():
        found: Path | None = release
    elif release is None and _is_below(path, loaded.settings.dirs.source, loaded):
        found = None
    else:
        bases = (*_releases(loaded), path.parent / _FETCHED) if release is None else (release,)
        found = find_release(path, read_key(text, _ASSIGNMENT), bases)
        found = _fetched(path, text) if found is None and release is None else found
    if release is not None and found is None:
        raise InvalidInput(f"{shown(release)} holds no release of {shown(path)}.")
    released = None if found is None else read_notebook(found)
    item = (found or path).absolute().parent.name
    if not _is_below(path, loaded.settings.dirs.submitted, loaded):
        header = text if released is None else released
        return _Read(text, released, header, item, path.parent)
    # A submission's own header must not raise its limits.
    folder = None if found is None else found.parent
    return _Read(text, released, released or "", item, folder)


def _fetched(path: Path, text: str) -> Path | None:
    """Return the kept release of a fetched notebook, whose folder may have a title of Moodle's."""
    kept = (each / path.name for each in (path.parent / _FETCHED).glob("*"))
    texts = ((each, read_notebook(each)) for each in kept if each.is_file())
    same = [e for e, its in texts if read_key(its, _ASSIGNMENT) == read_key(text, _ASSIGNMENT)]
    return same[0] if len(same) == 1 else None


def _is_below(path: Path, directory: str, loaded: LoadedSettings) -> bool:
    return path.resolve().is_relative_to(loaded.path(directory).resolve())


def _write_pages(
    directory: Path, notebooks: tuple[Path, ...], reports: list[ValidationReport]
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, report in zip(page_names(notebooks), reports, strict=True):
        atomic_write(directory / f"{name}.html", render_html(report).encode())


def page_names(notebooks: Sequence[Path]) -> tuple[str, ...]:
    """Return the notebooks' names, those of several with as many directories as tell them apart."""
    names = [path.stem for path in notebooks]
    places = [path.absolute().with_suffix("").parts[1:] for path in notebooks]
    for steps in range(2, _MOST_STEPS):
        count, each = Counter(names), zip(names, places, strict=True)
        names = [name if count[name] == 1 else "-".join(place[-steps:]) for name, place in each]
    return tuple(names)
