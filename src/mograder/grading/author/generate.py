"""``mograder generate``: make a release without solutions of a source, and run both.

The new release is made beside the old one. Source and release run at the same time; only if both
succeed does the new release replace the old one, in one step. So mistakes are reported before a
student can meet them, and no release is ever half written (compatibility-0.3.16.md 7). A lecture
(``--lecture``) is written without running it, and its links lead to the hub's pages (B70, B113).
The outcome of each item has the lines of output, whose prefixes are 0.3.16's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.name_lookup import counted
from mograder.core.names import ItemName
from mograder.core.portable_names import refuse_new_problems
from mograder.grading.author.author_runs import (
    AuthorRuns,
    RunReport,
    in_source,
    judge_release,
    judge_source,
)
from mograder.grading.author.check_trials import (
    Findings,
    Subject,
    Version,
    interface,
    rehearse,
    unseen_checks,
)
from mograder.notebook.cells import parse_cells
from mograder.notebook.denied_code import Denied, screen_source
from mograder.notebook.findings import Finding, refuse
from mograder.notebook.grading.checks_advice import given_away, outside_influences
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.grading.grading_split import review_grading, unknown_keys
from mograder.notebook.header_edit import has_block, read_key
from mograder.notebook.pep723 import read_kind
from mograder.notebook.references import app_files, undeclared
from mograder.notebook.source.leaks import find_leaks
from mograder.notebook.source.lectures import linked_items, mode_by_initial, to_lecture
from mograder.notebook.source.release import (
    ReleaseText,
    make_release,
    with_submit_cells,
    without_mark,
)
from mograder.sandbox.execution.report import CheckResult
from mograder.store.course.course import (
    ReleaseBuild,
    SourceItem,
    read_notebook,
    refuse_to_replace,
    shown,
    staged_release,
    support_files,
)
from mograder.store.course.support_files import (
    Belongings,
    belongings,
    modules_beside,
    solutions_in,
)
from mograder.store.filesystem.files import entry_named

_MODES = {"lecture": "run", "demo": "run", "assignment": "edit"}


class Step(StrEnum):
    """The prefix of a line (compatibility-0.3.16.md 7); the last three are ours."""

    VALIDATE = "VALIDATE"
    VALID = "VALID"
    OK = "OK"
    COPY = "COPY"
    ZIP = "ZIP"
    RELEASE_CHECK = "RELEASE-CHECK"
    SKIP = "SKIP"
    DRY_RUN = "DRY-RUN"
    ANSWERS = "ANSWERS"
    ADVICE = "ADVICE"
    LEFT_OUT = "LEFT-OUT"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output, for people and for scripts written for 0.3.16."""

    step: Step
    text: str

    def __str__(self) -> str:
        return f"{self.step}: {self.text}"


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """Options for making releases, and the directories.

    ``sources`` and ``releases`` are the course's own directories, where the targets of a lecture's
    links are looked up; ``output`` is where releases are written. With ``dry_run`` nothing runs and
    nothing is written; with ``valid_only`` as well, it is not told either what would be written.
    ``jobs`` is the largest number of notebooks that run at a time; ``denied`` is the code that
    students' answers should not use, None for no restriction. ``unprotected`` are for each item the
    keys of questions whose checks may run beside the answers.
    """

    sources: Path
    releases: Path
    output: Path
    validate: bool = True
    dry_run: bool = False
    valid_only: bool = False
    lecture: bool = False
    submit_url: str = ""
    jobs: int = 2
    denied: Denied | None = None
    unprotected: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generated:
    """The outcome of one item: its lines in order, and why nothing was written, if so."""

    name: str
    lines: tuple[Line, ...]
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems


class Watch:
    """The progress of items, given by their names; the methods do nothing unless overridden."""

    def progress(self, name: str, message: str) -> None:
        """Handle a message about the step that begins."""

    def check(self, name: str, check: CheckResult) -> None:
        """Handle the outcome of one check of the source."""

    def answers(self, name: str, notebook: str, answers: Mapping[str, str]) -> None:
        """Handle what the answers of a notebook are, in words by their names."""


@dataclass(frozen=True, slots=True)
class _Made:
    """One notebook of an item: the text of the source and that of the release.

    ``plan`` is that of grading, None if the source cannot be graded by its checks.
    """

    source: Path
    text: str
    release: ReleaseText
    plan: GradingPlan | None


async def generate(
    items: Sequence[SourceItem],
    runs: AuthorRuns,
    options: GenerateOptions,
    watch: Watch,
) -> tuple[Generated, ...]:
    """Make the releases of several items, some in parallel; outcomes are in the items' order.

    Grading by the checks of the sources is rehearsed. A failure of one item is reported in its own
    outcome and does not stop the others.
    """
    room = asyncio.Semaphore(max(1, options.jobs))
    generators = [_Generator(item, runs, options, watch, room) for item in items]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.outcome()) for each in generators]
    return tuple(task.result() for task in tasks)


def _generate_lecture(item: SourceItem, options: GenerateOptions, lines: list[Line]) -> None:
    """Write a lecture's release without running it.

    ``lines`` gets what is to be reported, also of the notebooks before one with a mistake.

    Raises: InvalidInput with each mistake and its line, if the notebook cannot be published.
    """
    for source in item.notebooks:
        filename, target = shown(source), options.output / source.stem
        refuse_to_replace(target, source.parent, options.sources / source.stem)
        text = read_notebook(source)
        modes = {name: _mode(name, options) for name in linked_items(text)}
        support = support_files(item, [text])
        if item.directory.name != source.stem:  # it may hold other lectures too
            named = frozenset(app_files(text))
            why = f"its folder is not called {source.stem}, so it is not known to belong to it"
            support = support.without({each: why for each in support.files if each not in named})
        kept = support.files
        lecture = to_lecture(text, filename=filename, mode_of=modes.get, kept=kept)
        refuse(in_source(text, lecture, filename, find_leaks(lecture, filename)))
        told = f"{filename} -> {shown(target / source.name)}"
        left = [
            *_check_names(source.stem, [source.name, *kept], target),
            *left_out(item, support),
            *_missing_files(item, source, text),
            *packages(source, text),
        ]
        if options.valid_only:
            lines += [Line(Step.VALID, filename), *left]
            continue
        if options.dry_run:
            lines.append(Line(Step.DRY_RUN, told))
            lines += [Line(Step.DRY_RUN, f"would copy {name}, if it is newer") for name in kept]
            lines += left
            continue
        with staged_release(target) as stage:
            stage.write_text(source.name, lecture)
            copied = _copy_support(item, kept, stage, shown(target))
            stage.commit()
        lines += [Line(Step.OK, told), *copied, *left]


class _Generator:
    """Makes one item's release and collects the lines of its report."""

    def __init__(
        self,
        item: SourceItem,
        runs: AuthorRuns,
        options: GenerateOptions,
        watch: Watch,
        room: asyncio.Semaphore,
    ) -> None:
        self._item = item
        self._runs = runs.of_item(item.name)
        self._options = options
        self._watch = watch
        self._room = room
        self._target = entry_named(options.output, item.name)
        self._lines: list[Line] = []

    async def outcome(self) -> Generated:
        try:
            problems = await self._generate()
        except MograderError as error:
            problems = (str(error),)
        return Generated(self._item.name, tuple(self._lines), tuple(problems))

    async def _generate(self) -> Sequence[str]:
        if self._options.lecture:
            await asyncio.to_thread(_generate_lecture, self._item, self._options, self._lines)
            return ()
        own = entry_named(self._options.sources, self._item.name)
        refuse_to_replace(self._target, self._item.directory, own)
        made = await asyncio.to_thread(self._make_all)
        if not made:
            return ()
        if self._options.dry_run:
            await asyncio.to_thread(self._preview, made)
            return ()
        stack = ExitStack()
        try:
            stage = await asyncio.to_thread(stack.enter_context, staged_release(self._target))
            return await self._release(made, stage)
        finally:
            await asyncio.to_thread(stack.close)

    async def _release(self, made: Sequence[_Made], stage: ReleaseBuild) -> Sequence[str]:
        written = await asyncio.to_thread(self._fill, made, stage)
        checked: list[Line] = []
        if self._options.validate:
            problems = await self._check(made, stage, checked)
            if problems:
                return problems
        await asyncio.to_thread(stage.commit)
        sources = [line for line in checked if line.step is Step.VALID]
        releases = [line for line in checked if line.step is not Step.VALID]
        self._lines += [*sources, *written, *releases]
        return ()

    def _make_all(self) -> tuple[_Made, ...]:
        made = []
        for source in self._item.notebooks:
            self._watch.progress(self._item.name, "Taking out the solutions")
            text = read_notebook(source)
            filename = shown(source)
            release = self._make(text, filename)
            if release is None:
                kind = read_kind(text)
                hint = f" A {kind} needs --lecture." if kind in ("lecture", "demo") else ""
                told = f"{filename} has no solution block; nothing is written.{hint}"
                self._tell(Step.SKIP, told)
                continue
            unprotected = self._options.unprotected.get(self._item.name, ())
            planned = review_grading(text, filename, unprotected)
            refuse(planned.errors)
            denied, advice = self._options.denied, [*release.advice]
            if denied is not None:  # what a hub would object to if students wrote this
                advice += screen_source(text, filename, denied)
            advice += planned.advice
            keys: Sequence[str] = ()
            if planned.plan is not None:
                advice += _advice_on_checks(text, filename, release, planned.plan)
                keys = tuple(unknown_keys(planned.plan, unprotected, filename))
            self._lines += [Line(Step.ADVICE, str(each)) for each in (*advice, *keys)]
            self._lines += [*_missing_files(self._item, source, text), *packages(source, text)]
            made.append(_Made(source, text, release, planned.plan))
        return tuple(made)

    def _make(self, text: str, filename: str) -> ReleaseText | None:
        url, name = self._options.submit_url, self._item.name
        if url:
            text = with_submit_cells(text, url=url, assignment=name)
        release = make_release(text, filename=filename, assignment=name)
        if release is not None:
            leaks = find_leaks(release.text, filename)
            refuse(in_source(text, release.text, filename, leaks))
        return release

    def _released(self, filename: str) -> str:
        return shown(self._target / Path(filename).name)

    def _preview(self, made: Sequence[_Made]) -> None:
        only = self._options.valid_only
        for each in made:
            target = shown(self._target / each.source.name)
            count = each.release.solution_blocks
            blocks = "one solution block" if count == 1 else f"{count} solution blocks"
            told = shown(each.source) if only else f"{shown(each.source)} -> {target}"
            self._tell(Step.VALID if only else Step.DRY_RUN, f"{told} ({blocks})")
        support = support_files(self._item, [each.release.text for each in made])
        for name in support.files if not only else ():
            self._tell(Step.DRY_RUN, f"would copy {name}, if it is newer")
        names = [*(each.source.name for each in made), *support.files]
        self._lines += [
            *left_out(self._item, support),
            *_check_names(self._item.name, names, self._target),
        ]

    def _fill(self, made: Sequence[_Made], stage: ReleaseBuild) -> list[Line]:
        """Write all files of the release into the stage; return the lines to report."""
        lines = []
        support = support_files(self._item, [each.release.text for each in made])
        names = [*(each.source.name for each in made), *support.files]
        odd = _check_names(self._item.name, names, self._target)
        for each in made:
            stage.write_text(each.source.name, each.release.text)
            lines.append(
                Line(Step.OK, f"{shown(each.source)} -> {self._released(each.source.name)}")
            )
        lines += _copy_support(self._item, support.files, stage, shown(self._target))
        lines += [*left_out(self._item, support), *odd]
        archive = f"{self._item.name}.zip"
        if len(names) > 1:
            stage.zip(names)
            lines.append(Line(Step.ZIP, f"{self._released(archive)} ({len(names)} files)"))
        else:
            stage.drop(archive)
        return lines

    async def _check(
        self, made: Sequence[_Made], stage: ReleaseBuild, lines: list[Line]
    ) -> list[str]:
        for each in made:
            self._tell(Step.VALIDATE, f"{shown(each.source)}: running it with its solutions")
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(self._run_both(each, stage)) for each in made]
        reports = [run.result() for run in runs]
        problems: list[str] = []
        for each, (source, release) in zip(made, reports, strict=True):
            problems += await asyncio.to_thread(self._judge, each, source, release, lines)
        if problems:
            return problems
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._rehearsed(each, stage, *both))
                for each, both in zip(made, reports, strict=True)
            ]
        for task, each in zip(tasks, made, strict=True):
            found, filename = task.result(), shown(each.source)
            problems += [str(finding) for finding in found.errors]
            if found.answers:
                lines.append(Line(Step.ANSWERS, f"{filename}: {interface(found.answers)}"))
                self._watch.answers(self._item.name, filename, found.answers)
            lines += [Line(Step.ADVICE, str(finding)) for finding in found.advice]
        return problems

    async def _run_both(self, made: _Made, stage: ReleaseBuild) -> tuple[RunReport, RunReport]:
        name, source = made.source.name, made.source
        plain = without_mark(made.text)
        if plain != made.text:  # marimo cannot open it with the byte order mark
            data = plain.encode("utf-8", "surrogatepass")
            source = await asyncio.to_thread(stage.aside, name, data)
        async with asyncio.TaskGroup() as group:
            other = group.create_task(
                self._run(stage.path / name, stage.path, self._released(name))
            )
            one = await self._run(source, made.source.parent, shown(made.source))
            for check in one.checks:  # at once: others may still run for long
                self._watch.check(self._item.name, check)
        return one, other.result()

    async def _run(self, notebook: Path, support: Path, filename: str) -> RunReport:
        """Run a notebook when a slot is free; an error that prevents it is its problem."""
        name = self._item.name
        async with self._room:
            self._watch.progress(name, f"Running {filename}")
            try:
                return await self._runs.run(
                    notebook, support, lambda told: self._watch.progress(name, told)
                )
            except MograderError as error:
                return RunReport(problem=str(error))

    def _judge(
        self, made: _Made, source: RunReport, release: RunReport, lines: list[Line]
    ) -> list[str]:
        """Return what is wrong in the runs; add the lines on what is not."""
        filename, texts = shown(made.source), (made.text, made.release.text)
        wrong = [*judge_source(made.text, filename, source)]
        if made.plan is not None:
            wrong += unseen_checks(made.plan, filename, source)
        count = len(source.checks)
        if not wrong:
            told = f"{filename}: {counted(count, 'check')} passed" if count else filename
            lines.append(Line(Step.VALID, told))
        found = judge_release(*texts, filename, release)
        if not found.problems:
            told = f"{self._released(made.source.name)}: runs without errors"
            waiting = sum(check.status == "warn" for check in release.checks)
            if release.checks:
                told += f", {waiting} of {counted(len(release.checks), 'check')} wait"
            lines.append(Line(Step.RELEASE_CHECK, told))
            lines += [Line(Step.ADVICE, str(finding)) for finding in found.partly]
        return [str(finding) for finding in (*wrong, *found.problems)]

    async def _rehearsed(
        self, made: _Made, stage: ReleaseBuild, source: RunReport, release: RunReport
    ) -> Findings:
        if made.plan is None or not made.plan.checks:
            return Findings()
        item, name, filename = self._item.name, made.source.name, shown(made.source)
        async with self._room:
            self._watch.progress(item, f"Rehearsing the grading of {filename}")
            subject = Subject(
                filename,
                made.plan,
                Version(made.text, name, made.source.parent, source),
                Version(made.release.text, name, stage.path, release),
            )
            return await rehearse(
                subject, self._runs, lambda told: self._watch.progress(item, told)
            )

    def _tell(self, step: Step, text: str) -> None:
        self._lines.append(Line(step, text))


def _advice_on_checks(
    text: str, filename: str, release: ReleaseText, plan: GradingPlan
) -> Sequence[Finding]:
    """Return what `mograder quality` tells of the checks without running them."""
    notebook = parse_cells(text, filename)
    found = {
        *outside_influences(notebook, plan, filename),
        *given_away(notebook, release.text, plan, filename),
    }
    return sorted({Finding(filename, each.line, each.message, each.remedy) for each in found})


def left_out(item: SourceItem, support: Belongings) -> list[Line]:
    place = shown(item.directory)
    return [Line(Step.LEFT_OUT, f"{place}/{each.name}: {each.reason}.") for each in support.left]


def _missing_files(item: SourceItem, source: Path, text: str) -> list[Line]:
    missing = [name for name in app_files(text) if not (item.directory / name).is_file()]
    return [
        Line(Step.ADVICE, f"{shown(source)}:1: marimo.App(...) names {name}, which is not there.")
        for name in missing
    ]


def packages(source: Path, text: str) -> list[Line]:
    """Return a line for each import that the header, if there is one, does not declare."""
    if not has_block(text):
        return []
    found = undeclared(text, shown(source), modules_beside(source.parent))
    return [Line(Step.ADVICE, str(finding)) for finding in found]


def _copy_support(
    item: SourceItem, names: Sequence[str], stage: ReleaseBuild, target: str
) -> list[Line]:
    """Copy newer files; raises InvalidInput if the release has one that marks a solution."""
    lines = []
    for name in names:
        source = item.directory / name
        if stage.take(source, name):
            lines.append(Line(Step.COPY, f"{shown(source)} -> {Path(target) / name}"))
        elif stage.differs(source, name):
            text = f"{Path(target) / name}:1: it is newer than the source's and not replaced."
            lines.append(Line(Step.ADVICE, f"{text} Remove it to take {shown(source)}."))
    files = belongings(stage.path).files
    refuse(solutions_in({str(Path(target) / name): stage.path / name for name in files}))
    known = {*names, *(notebook.name for notebook in item.notebooks)}
    for name in files:
        if name not in known:  # only the old release had it
            text = f"{Path(target) / name}:1: students get it, though it is not the source's."
            lines.append(Line(Step.ADVICE, f"{text} Remove it if they should not."))
    return lines


def _mode(name: str, options: GenerateOptions) -> str | None:
    """Return how the hub opens an item, from its release, else its source, else its name."""
    there = False
    for base in (options.output, options.releases, options.sources):
        notebook = base / name / f"{name}.py"
        if not notebook.is_file():
            continue
        there = True
        try:
            text = read_notebook(notebook)
            kind = read_kind(text)
        except InvalidInput:
            continue
        if kind or read_key(text, "mograder-assignment"):  # which a generated release has
            return _MODES[kind or "assignment"]
    return mode_by_initial(name) or ("edit" if there else None)


def _check_names(item: str, files: Sequence[str], target: Path) -> list[Line]:
    """Refuse new names that Windows or macOS cannot store; return lines about older ones.

    ``target`` is the item's directory among the releases, which may not exist.

    Raises: InvalidInput for a new name, the item's or a file's, that not every system takes.
    """
    if not target.is_dir() and ItemName.valid(item):
        base = target.parent
        ItemName.parse_new(item, [each.name for each in base.iterdir()] if base.is_dir() else [])
    there = [each for each in target.rglob("*") if each.is_file()] if target.is_dir() else []
    try:
        known = refuse_new_problems(files, [each.relative_to(target).as_posix() for each in there])
    except InvalidInput as error:
        raise InvalidInput(f"{item}: {error.message}", hint=error.hint) from error
    return [Line(Step.ADVICE, f"{item}: {each}") for each in known]
