"""``mograder generate``: releases of sources; mistakes are reported before students meet them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from mograder.cli.shared.console import coloured, print_json
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.named_assignments import directories_in
from mograder.cli.shared.options import DIRECTORY, sandbox_options, verbose_option
from mograder.cli.shared.output import reporting
from mograder.clients.server_url import parse_hub_url
from mograder.core.errors import MograderError
from mograder.core.name_lookup import listed
from mograder.core.settings import LoadedSettings, read_environ
from mograder.grading.author.author_runs import AuthorRuns, open_runs
from mograder.grading.author.generate import (
    Generated,
    GenerateOptions,
    Line,
    Step,
    Watch,
)
from mograder.grading.author.generate import generate as generate_items
from mograder.notebook.denied_code import denied_by
from mograder.notebook.findings import Finding
from mograder.publishing.pyodide import advise_browser
from mograder.sandbox.environments.runtime_wheel import offer_runtime
from mograder.sandbox.execution.report import CheckResult
from mograder.store.course.course import SourceItem, find_source, read_notebook, shown

_LONGEST_JOBS = 64


@click.command("generate")
@click.argument("assignments", nargs=-1, metavar="ASSIGNMENTS...")
@click.option(
    "-o",
    "--output-dir",
    type=DIRECTORY,
    help="Where releases are written.  [default: the course's release directory]",
)
@click.option("--dry-run", is_flag=True, help="Check the sources; run and write nothing.")
@click.option("--validate", is_flag=True, help="As --dry-run, with a line VALID for each source.")
@click.option("--no-validate", is_flag=True, help="Write without running source or release.")
@click.option("--lecture", is_flag=True, help="Links lead to the hub's pages; nothing is run.")
@click.option("--submit-url", default="", help="Add a form that hands in to this server.")
@click.option("--progress", is_flag=True, help="Tell what goes on as JSON lines on stderr.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, _LONGEST_JOBS),
    default=2,
    show_default=True,
    help="How many notebooks run at a time.",
)
@sandbox_options
@verbose_option
@course_option
def generate(  # noqa: PLR0913  # one argument per option
    assignments: tuple[str, ...],
    *,
    output_dir: Path | None,
    dry_run: bool,
    validate: bool,
    no_validate: bool,
    lecture: bool,
    submit_url: str,
    progress: bool,
    jobs: int,
    no_sandbox: bool,
    own_python: bool,
    loaded: LoadedSettings,
) -> None:
    """Make releases of sources.

    A release is a source without its solutions and hidden tests. ASSIGNMENTS are names in the
    course's source directory, or their beginnings up to a dash, or paths. Unless --no-validate is
    given, the source is run, where every check must pass, and the release, where none may pass
    that should wait. A release that fails is not written, and the old one stays.
    """
    settings = loaded.settings
    sources, releases = loaded.path(settings.dirs.source), loaded.path(settings.dirs.release)
    items = _items(assignments, sources)
    options = GenerateOptions(
        sources=sources,
        releases=releases,
        output=output_dir or releases,
        validate=not no_validate,
        dry_run=dry_run or validate,
        valid_only=validate,
        lecture=lecture,
        submit_url=_server(submit_url, lecture=lecture),
        jobs=jobs,
        unprotected={name: each.unprotected for name, each in settings.items.items()},
        denied=None if settings.security.safety_scan == "off" else denied_by(settings.safety),
    )
    if not options.dry_run:  # the headers of the course's notebooks name our wheel there
        offer_runtime(loaded.state_dir / "runtime")
    with reporting(quiet=progress) as report:
        output = _Progress(events=progress, report=report)
        output.event("start", assignments=[item.name for item in items])
        # If nothing runs, no environment is needed.
        sandbox = not (no_validate or options.dry_run or lecture or no_sandbox or own_python)
        opening = _opening(items, loaded, output, jobs=jobs, sandbox=sandbox, own_python=own_python)
        outcomes = asyncio.run(_generate(items, options, opening, output))
    _tell(outcomes, output)
    if not all(outcome.ok for outcome in outcomes):
        raise click.exceptions.Exit(1)


@dataclass(frozen=True, slots=True)
class _Progress(Watch):
    """Reports progress as text, or as JSON lines (compatibility-0.3.16.md 9)."""

    events: bool
    report: Callable[[str], None]

    def event(self, kind: str, **facts: object) -> None:
        if self.events:
            print_json({"event": kind, **facts}, err=True)

    def warn(self, message: str) -> None:
        self.event("warning", message=message)
        if not self.events:
            click.echo(f"Warning: {message}", err=True)

    def problem(self, name: str, message: str) -> None:
        self.event("problem", assignment=name, message=message)
        if not self.events:
            click.echo(message, err=True)

    def progress(self, name: str, message: str) -> None:
        self.event("progress", assignment=name, message=message)
        self.report(f"{name}: {message}")

    def check(self, name: str, check: CheckResult) -> None:
        self.event("check", assignment=name, label=check.label, status=check.status)

    def answers(self, name: str, notebook: str, answers: Mapping[str, str]) -> None:
        self.event("answers", assignment=name, notebook=notebook, answers=dict(answers))


def _server(url: str, *, lecture: bool) -> str:
    """Return the address of the server to which a form hands in; "" without a form."""
    if url and lecture:
        raise click.UsageError("--submit-url is for assignments: a lecture is not handed in.")
    return url and parse_hub_url(url, insecure=True, what="server")


def _items(arguments: Sequence[str], sources: Path) -> list[SourceItem]:
    """Return the items named by the arguments without duplicates, as each has one directory."""
    if not arguments:
        names = sorted(directories_in(sources))
        there = f"{shown(sources)} holds: {listed(names)}." if names else ""
        raise click.UsageError(f"Name what to generate. {there}".strip())
    found: dict[Path, SourceItem] = {}
    for argument in arguments:
        item = find_source(argument, sources)
        place = item.directory.resolve()
        known = found.get(place)
        if known is not None:
            notebooks = dict.fromkeys([*known.notebooks, *item.notebooks])
            item = replace(known, notebooks=tuple(notebooks))
        found[place] = item
    names = [item.name for item in found.values()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise click.UsageError(f"Two directories are called {twice[0]}; generate them apart.")
    return list(found.values())


def _opening(
    items: Sequence[SourceItem],
    loaded: LoadedSettings,
    output: _Progress,
    *,
    jobs: int,
    sandbox: bool,
    own_python: bool,
) -> AbstractAsyncContextManager[AuthorRuns]:
    runs = 2 * sum(len(item.notebooks) for item in items)
    return open_runs(
        *(loaded, read_environ(), output.warn),
        runs=runs,
        jobs=jobs,
        sandbox=sandbox,
        own_python=own_python,
    )


async def _generate(
    items: Sequence[SourceItem],
    options: GenerateOptions,
    opening: AbstractAsyncContextManager[AuthorRuns],
    output: _Progress,
) -> tuple[Generated, ...]:
    async with opening as runs, asyncio.TaskGroup() as group:
        # The index may be asked meanwhile.
        wanted = [] if options.lecture else items
        asked = [group.create_task(asyncio.to_thread(_advice, item)) for item in wanted]
        made = await generate_items(items, runs, options, output)
    told = [task.result() for task in asked] or [()] * len(made)
    return tuple(
        replace(each, lines=(*each.lines, *lines)) if each.ok and each.lines else each
        for each, lines in zip(made, told, strict=True)
    )


def _advice(item: SourceItem) -> tuple[Line, ...]:
    """Return the lines on packages that do not run in the browser alone."""
    found: list[Finding] = []
    for source in item.notebooks:
        try:
            found += advise_browser(read_notebook(source), shown(source))
        except MograderError:
            continue  # the item's outcome tells why the notebook cannot be read
    return tuple(Line(Step.ADVICE, str(finding)) for finding in found)


def _tell(outcomes: Sequence[Generated], output: _Progress) -> None:
    for outcome in outcomes:
        for line in outcome.lines:
            click.echo(coloured(str(line)))
        for problem in outcome.problems:
            output.problem(outcome.name, problem)
    results = {outcome.name: "ok" if outcome.ok else "failed" for outcome in outcomes}
    output.event("results", results=results)
