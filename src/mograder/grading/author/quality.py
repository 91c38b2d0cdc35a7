"""The examination of a source's checks: the solution and wrong ones are run, and compared.

First the solution runs once; that tells how long everything takes. Then all other runs are made, as
many at a time as there are processors. The source is also judged apart from its checks, as grading
does, which tells the junk that passes. What was found is in the report also after a cancellation.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.grading.author.author_runs import (
    AuthorRuns,
    RunReport,
    judge_release,
    judge_source,
    run_report,
)
from mograder.grading.author.check_trials import (
    Subject,
    Version,
    judge_empty,
    judged_otherwise,
    junk_passes,
    trial_of,
    unsteady_labels,
)
from mograder.grading.author.quality_trials import (
    ExaminedSource,
    MutantTrials,
    QualityReport,
    Submissions,
    Trial,
    Trials,
)
from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.checks_advice import (
    Fault,
    absolute_paths,
    given_away,
    in_cell,
    outside_influences,
)
from mograder.notebook.grading.grading_split import review_grading
from mograder.notebook.grading.mutants import choose, mutants_of
from mograder.notebook.source.release import make_release, without_mark
from mograder.sandbox.execution.judging import JudgingResult
from mograder.sandbox.inside.grading_contract import Contract
from mograder.store.course.course import read_notebook, shown

if sys.platform == "linux":
    from mograder.grading.author.submission_findings import tell_submissions

_JUDGED = 2
"""The source and its release are judged apart."""

_JUNK_SECONDS = 8.0
_OVERHEAD = 0.3
"""Seconds for junk, and for starting and ending one run."""


@dataclass(frozen=True, slots=True)
class QualityOptions:
    """Options of an examination.

    At most ``mutants`` wrong solutions are tried, chosen by ``seed``, ``jobs`` at a time. After
    ``budget`` seconds no further one is started. A run may take ``seconds``. ``unprotected`` are
    keys of questions whose checks may run beside the answers. ``submissions`` are judged, too.
    ``item`` is the name of the item whose limits the runs have.
    """

    mutants: int = 200
    seed: int = 0
    jobs: int = 2
    budget: float = 600.0
    seconds: float = 300.0
    item: str = ""
    unprotected: tuple[str, ...] = ()
    submissions: Submissions | None = None


class QualityWatch:
    """The progress of an examination; the methods do nothing unless overridden."""

    def planned(self, filename: str, runs: int, seconds: float) -> None:
        """Handle the estimate: the number of runs to come, and how long they take together."""

    def say(self, filename: str, message: str) -> None:
        """Handle a message about the step that begins."""

    def done(self) -> None:
        """Handle the end of one run."""


async def examine(
    path: Path,
    runs: AuthorRuns,
    options: QualityOptions,
    watch: QualityWatch,
    report: QualityReport,
) -> None:
    """Examine the checks of a source; findings are added to ``report``.

    Raises:
        InvalidInput: It is no source, or cannot be read.
        SandboxUnavailable: There are submissions, and no sandboxes.
    """
    if options.submissions is not None and not runs.protected:
        raise SandboxUnavailable(
            "Submissions are strangers' programs, and are run in sandboxes only.",
            hint="Leave out --submissions, or run this on Linux with bubblewrap.",
        )
    started = time.monotonic()
    try:
        own, end = runs.of_item(options.item), started + options.budget
        await _Examination(path, own, options, watch, report, end).run()
    finally:
        report.seconds = time.monotonic() - started


@dataclass(frozen=True, slots=True)
class _Examination:
    _path: Path
    _runs: AuthorRuns
    _options: QualityOptions
    _watch: QualityWatch
    _report: QualityReport
    _end: float

    async def run(self) -> None:
        source = await asyncio.to_thread(self._read)
        if source is None:
            self._report.complete = True
            return
        trials = Trials(source, self._runs, jobs=self._options.jobs, done=self._watch.done)
        self._watch.say(source.filename, "Running it with its solutions")
        plain = await trials.run(source.notebook.text, self._options.seconds)
        own = await asyncio.to_thread(
            report_of, source.notebook.text, source.filename, plain, self._options.seconds
        )
        self._report.labels = len(plain.checks)
        if not await asyncio.to_thread(self._passes, source, own):
            self._report.complete = True
            return
        found = await asyncio.to_thread(mutants_of, source.notebook, source.plan, source.filename)
        self._report.mutants = len(found)
        mutants = choose(found, self._options.mutants, self._options.seed)
        trial = await trials.run(source.release, self._options.seconds)  # the first was a cold one
        release = await asyncio.to_thread(
            report_of, source.release, source.filename, trial, self._options.seconds
        )
        await asyncio.to_thread(_tell_release, source, release, self._report)
        files = self._options.submissions.files if self._options.submissions else ()
        every = _JUDGED + len(mutants) + len(files)
        each = min(plain.seconds, trial.seconds) + _OVERHEAD
        told = each * every / self._options.jobs + _JUNK_SECONDS
        self._watch.planned(source.filename, every, told)
        await self._judge(source, trials, (own, release))
        seconds = self._options.seconds
        tried = MutantTrials(source, trials, self._report, seconds=seconds, end=self._end)
        await tried.run(mutants)
        if left := self._report.mutants - self._report.tried:
            untried = f"{left} of {self._report.mutants} wrong solutions were not tried"
            self._report.notes.append(f"{untried}; `--mutants` and `--time` allow more.")
        self._report.complete = True

    def _read(self) -> ExaminedSource | None:
        text, filename = without_mark(read_notebook(self._path)), shown(self._path)
        release = make_release(text, filename=filename, assignment=self._path.stem)
        if release is None:
            self._report.notes.append("It has no solution block, so nothing was looked at.")
            return None
        reviewed = review_grading(text, filename, self._options.unprotected)
        notebook = parse_cells(text, filename)
        for each in (*reviewed.errors, *reviewed.advice):
            self._report.add(in_cell(notebook, Fault.CONDITION, each))
        if reviewed.plan is None or not (reviewed.plan.checks or reviewed.plan.beside):
            self._report.notes.append("It has no checks that can be judged.")
            return None
        return ExaminedSource(
            filename,
            self._path.name,
            self._path.absolute().parent,
            notebook,
            reviewed.plan,
            release.text,
        )

    def _passes(self, source: ExaminedSource, own: RunReport) -> bool:
        """Whether the solution passes its checks; if not, that is what has to be corrected."""
        failed = judge_source(source.notebook.text, source.filename, own)
        for each in failed:
            self._report.add(in_cell(source.notebook, Fault.SOLUTION, each))
        notebook, plan, filename = source.notebook, source.plan, source.filename
        for finding in (
            *given_away(notebook, source.release, plan, filename),
            *outside_influences(notebook, plan, filename),
            *absolute_paths(notebook, filename),
        ):
            self._report.add(finding)
        if failed:
            self._report.notes.append("Nothing else was run, since the solution does not pass.")
        return not failed

    async def _judge(
        self, source: ExaminedSource, trials: Trials, plain: tuple[RunReport, RunReport]
    ) -> None:
        async with trials.room:
            contract = await _judge_apart(source, plain, self._runs, self._report)
        for _ in range(_JUDGED):
            self._watch.done()
        submissions = self._options.submissions
        if submissions is None:
            return
        if contract is None:
            self._report.notes.append("Submissions were not judged: the solution was not, either.")
            return
        if sys.platform == "linux":  # elsewhere there are no sandboxes to run them in
            done = self._watch.done
            await tell_submissions(source, submissions, contract, self._runs, self._report, done)


def report_of(text: str, filename: str, trial: Trial, seconds: float) -> RunReport:
    if trial.result is None:
        return RunReport(problem=trial.problem)
    return run_report(text, filename, trial.result, seconds)


def _tell_release(source: ExaminedSource, run: RunReport, report: QualityReport) -> None:
    found = judge_release(source.notebook.text, source.release, source.filename, run)
    faults = [(Fault.SOLUTION, each) for each in found.failures]
    faults += [(Fault.EMPTY, each) for each in (*found.early, *found.partly)]
    faults += [
        (Fault.GIVEN_AWAY if "hidden test" in each.message else Fault.MACHINE, each)
        for each in found.leaks
    ]
    for fault, finding in faults:
        report.add(in_cell(source.notebook, fault, finding))


async def _judge_apart(
    source: ExaminedSource,
    plain: tuple[RunReport, RunReport],
    runs: AuthorRuns,
    report: QualityReport,
) -> Contract | None:
    """Judge the solution, junk and the release; return the contract, None if there is none.

    ``plain`` are the plain runs of the source and its release.
    """
    text = source.notebook.text
    subject = Subject(
        source.filename,
        source.plan,
        Version(text, source.name, source.folder, plain[0]),
        Version(source.release, source.name, source.folder, plain[1]),
    )
    try:
        trial = await asyncio.to_thread(trial_of, subject, subject.source)
        own = await runs.judge(trial, lambda _: None)
        await asyncio.to_thread(_tell_solution, source, subject, own, report)
        if own.contract is None:
            return None
        empty = await asyncio.to_thread(trial_of, subject, subject.release, own.contract)
        result = await runs.judge(empty, lambda _: None)
    except MograderError as error:
        report.notes.append(f"Junk was not tried: {error}")
        return None
    found = await asyncio.to_thread(judge_empty, subject, result)
    for finding in (*found.errors, *found.advice):
        report.add(in_cell(source.notebook, Fault.EMPTY, finding))
    return own.contract


def _tell_solution(
    source: ExaminedSource, subject: Subject, own: JudgingResult, report: QualityReport
) -> None:
    if own.problem:
        why = own.problem.splitlines()[0]
        report.notes.append(f"Junk was not tried: {why}")
        return
    for _, finding in judged_otherwise(subject, own):
        report.add(in_cell(source.notebook, Fault.SOLUTION, finding))
    if own.rehearsal is None:
        report.notes.append("Junk was not tried.")
        return
    for _, finding in unsteady_labels(subject, own.rehearsal):
        report.add(in_cell(source.notebook, Fault.RANDOM, finding))
    for finding in junk_passes(subject, own.rehearsal):
        report.add(in_cell(source.notebook, Fault.JUNK, finding))
    done, trials = own.rehearsal.done, own.rehearsal.trials
    if done < trials:
        report.notes.append(f"Only {done} of {trials} kinds of junk were tried; time was over.")
