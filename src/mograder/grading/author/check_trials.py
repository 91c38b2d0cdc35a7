"""A rehearsal of grading for an author: a source's checks, judged apart from answers.

The author's own solution has to pass as in the notebook, the release has to earn nothing, and no
check should give marks for junk. A finding that a mark depends on is an error, every
other one is advice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.tasks import Progress
from mograder.grading.author.author_runs import PASSES_TOO_SOON, AuthorRuns, AuthorTrial, RunReport
from mograder.grading.submissions.contract_recording import (
    check_digests,
    contract_problems,
    interface_of,
)
from mograder.notebook.findings import Finding
from mograder.notebook.grading.grading_plan import GradingPlan, Part, answers_of_labels
from mograder.notebook.grading.grading_split import plan_source
from mograder.notebook.points import key_of
from mograder.notebook.source.release import without_mark
from mograder.sandbox.execution.judging import (
    JudgedLabel,
    JudgeFiles,
    JudgingResult,
    RehearsalReport,
)
from mograder.sandbox.inside.grading_contract import Contract

_BESIDE = "or write `# mograder: unprotected` into the cell, so that a marker confirms its marks"
_IMPORTED = (
    "Judging imports {names} as the solution does, whatever an answer binds. Let the solution "
    "define what is asked, or import it in a given cell."
)
_COMPARE = f"Compare values that the answers give, {_BESIDE}."
_LITTLE = 1e-9
_MOST_KINDS = 3
_HINTS = {
    "nan": "Compare by `<=` or `np.allclose`, which fail for NaN.",
    "empty": "Compare the lengths as well.",
    "longer": "Compare the lengths as well.",
    "single": "Compare the shapes as well.",
    "column": "Compare the shapes as well.",
    "equal": "Add a case that must be unequal.",
    "raises": "Add a case in which it must return a value.",
    "wraps": "Convert to `float` before you square or add.",
}
_REASONS = {
    "FileNotFoundError": f"Let the answer be the content of the file, {_BESIDE}.",
    "could not get source code": f"Check what the answer does, {_BESIDE}.",
    "source code not available": f"Check what the answer does, {_BESIDE}.",
    "it took too long": (
        "A call of an answer may take 10 s, or a thirtieth of `timeout` in [defaults] of "
        "mograder.toml where that is more, and at most all of it. Raise it, or let the call do "
        "less."
    ),
    "the time of this check is over": (
        "A check may take 60 s, or a fifth of `timeout` in [defaults] of mograder.toml where that "
        "is more, and at most all of it. Raise it, or divide the check."
    ),
    "the time for all checks is over": (
        "All checks together may take as long as `timeout` in [defaults] of mograder.toml says. "
        "Raise it, or let them do less."
    ),
}
_FIGURES = ("gca(", "gcf(", ".get_fignums(")


@dataclass(frozen=True, slots=True)
class Version:
    """A source or its release: the text, the name, the files beside it, and its plain run."""

    text: str
    name: str
    folder: Path
    report: RunReport


@dataclass(frozen=True, slots=True)
class Subject:
    """A source and its release to rehearse; ``filename`` is the source's for messages."""

    filename: str
    plan: GradingPlan
    source: Version
    release: Version


@dataclass(frozen=True, slots=True)
class Findings:
    """The mistakes that prevent a release, advice, and what the answers are in words."""

    errors: tuple[Finding, ...] = ()
    advice: tuple[Finding, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)


def judge_solution(subject: Subject, result: JudgingResult) -> Findings:
    if result.problem:
        lines = result.problem.splitlines()
        why = " … ".join(dict.fromkeys((lines[0], lines[-1])))
        told = f"the checks could not be judged apart from the answers: {why.rstrip('.')}."
        finding = Finding(subject.filename, 1, told)
        return Findings(advice=(finding,))
    found = [*judged_otherwise(subject, result)]
    advice: list[Finding] = []
    answers: Mapping[str, str] = {}
    if result.rehearsal is not None:
        answers = result.rehearsal.answers
        otherwise = {finding.line for _, finding in found}
        unsteady = unsteady_labels(subject, result.rehearsal)
        found += [each for each in unsteady if each[1].line not in otherwise]
        advice += junk_passes(subject, result.rehearsal)
        advice += _weak_conditions(subject, result.rehearsal)
    errors = {finding for key, finding in found if _has_marks(subject.plan, key)}
    advice += (finding for key, finding in found if not _has_marks(subject.plan, key))
    return Findings(tuple(sorted(errors)), tuple(sorted(set(advice))), answers)


def judge_empty(subject: Subject, result: JudgingResult) -> Findings:
    """Return what earns marks only when the release, in which nothing is answered, is judged."""
    ran = subject.release.report.checks
    known = {each.label for each in ran if each.status in ("success", "partial")}
    errors: list[Finding] = []
    advice: list[Finding] = []
    for planned, remedy, label in _labels(subject.plan, result):
        if label.label in known or not _has_marks(subject.plan, label.key):
            continue
        holds = [each.message for each in label.conditions if each.passed and each.weight > 0]
        if not holds and not label.passed:
            continue
        part = "" if label.passed else " in part"
        shown = f" ({holds[0]!r})" if holds else ""
        message = f"the check {label.label!r} passes{part} when it is judged, though nothing is "
        finding = Finding(subject.filename, planned, f"{message}answered yet{shown}.", remedy)
        (errors if label.passed else advice).append(finding)
    return Findings(tuple(errors), tuple(advice))


def interface(answers: Mapping[str, str]) -> str:
    """Return what the answers of a notebook are: ``x, y: array float64 (50,); f(x) → number``."""
    named: dict[str, list[str]] = {}
    told = []
    for name, text in answers.items():
        if text.startswith("("):
            told.append(f"{name}{text}")
        else:
            named.setdefault(text, []).append(name)
    return "; ".join([*(f"{', '.join(names)}: {text}" for text, names in named.items()), *told])


def _has_marks(plan: GradingPlan, key: str) -> bool:
    return plan.marks is not None and key in plan.marks


def _labels(plan: GradingPlan, result: JudgingResult) -> Iterator[tuple[int, str, JudgedLabel]]:
    """Yield the judged labels, with their lines and what helps if one passes without an answer."""
    imported = {each.name for each in plan.answers if each.imported}
    remedies = {
        part.cell: _IMPORTED.format(names=", ".join(f"`{each}`" for each in part.answers))
        for part in plan.checks
        if part.answers and imported.issuperset(part.answers)
    }
    lines = {
        (part.cell, label.label): label.line
        for part in plan.checks
        for label in (part.check.labels if part.check is not None else ())
    }
    for check in result.checks:
        for label in check.labels:
            line = lines.get((check.cell, label.label), check.line)
            yield line, remedies.get(check.cell, PASSES_TOO_SOON), label


def judged_otherwise(subject: Subject, result: JudgingResult) -> Iterator[tuple[str, Finding]]:
    """Yield the labels, by their keys, that differ from the notebook's own run."""
    own = {each.label: each for each in subject.source.report.checks}
    parts = {part.cell: part for part in subject.plan.checks}
    for check in result.checks:
        part, judged = parts[check.cell], {each.label: each for each in check.labels}
        planned = part.check.labels if part.check is not None else ()
        lines = {each.label: each.line for each in planned}
        for each in planned:
            if each.label in own and each.label not in judged:
                why = check.reason or "it did not run"
                key = each.key or key_of(each.label or "")
                yield key, _apart(subject, part, each.line, each.label or "", why)
        for label, found in judged.items():
            line = lines.get(label, part.line)
            if not found.passed:
                failed = (each for each in found.conditions if not each.passed)
                why = next((each.reason or each.message for each in failed), "") or check.reason
                yield found.key, _apart(subject, part, line, label, why)
            elif label in own and abs(own[label].total_weight - found.total) > _LITTLE:
                weights = f"{own[label].total_weight:g} in the notebook, but {found.total:g}"
                message = f"the conditions of {label!r} weigh {weights} when judged apart."
                yield found.key, Finding(subject.filename, line, message, _COMPARE)


def unseen_checks(plan: GradingPlan, filename: str, report: RunReport) -> Iterator[Finding]:
    """Yield the recorded checks with marks whose questions grading would leave to people."""
    checks = [
        (part.cell, part.check.labels)
        for part in (*plan.checks, *plan.beside)
        if part.check is not None
    ]
    known = {each.label for _, labels in checks for each in labels}
    open_cells = {cell for cell, labels in checks if any(each.label is None for each in labels)}
    lines = {cell.index: cell.line for cell in plan.cells}
    for each in report.checks:
        if each.label in known or each.index in open_cells:
            continue
        if _has_marks(plan, key_of(each.label)):
            message = f"the check {each.label!r} is recorded when the notebook runs, but grading "
            hint = "Call `check` in the cell itself, or in a function of the notebook."
            line = lines.get(each.index, 1)
            yield Finding(filename, line, f"{message}does not see its call.", hint)


def _apart(subject: Subject, part: Part, line: int, label: str, why: str) -> Finding:
    hint = next((hint for text, hint in _REASONS.items() if text in why), _COMPARE)
    if any(each in part.code for each in _FIGURES):
        why, hint = "it reads the current figure", f"Return the figure, {_BESIDE}."
    because = f": {why.rstrip('.')}" if why else ""
    message = f"{label!r} passes in the notebook but not when it is judged apart{because}."
    return Finding(subject.filename, line, message, hint)


def unsteady_labels(subject: Subject, report: RehearsalReport) -> Iterator[tuple[str, Finding]]:
    """Yield the labels, by their keys, that other random numbers give another result."""
    labels = answers_of_labels(subject.plan)
    for each in report.unsteady:
        info = labels.get((each.cell, each.label))
        line = info.line if info is not None else _line_of(subject.plan, each.cell)
        why = f": {each.message}" if each.message else ""
        message = f"whether {each.label!r} passes depends on its random numbers{why.rstrip('.')}."
        hint = "Seed them in the check, or allow for more difference."
        yield key_of(each.label), Finding(subject.filename, line, message, hint)


def _line_of(plan: GradingPlan, cell: int) -> int:
    return next((part.line for part in plan.judged if part.cell == cell), 1)


def junk_passes(subject: Subject, report: RehearsalReport) -> Iterator[Finding]:
    """Yield the labels that junk passes, once for each answer.

    If a label depends on several answers, others may have to find the junk: it is told only where
    no label does.
    """
    counted = {
        place: info
        for place, info in answers_of_labels(subject.plan).items()
        if subject.plan.marks is None or info.key in subject.plan.marks
    }
    passed = {
        (each.cell, label, each.name, each.junk) for each in report.junk for label in each.labels
    }
    words = {(each.name, each.junk): each.words for each in report.junk}
    for (cell, label), info in counted.items():
        for name in sorted(info.names):
            if len(info.names) == 1:
                others: Iterable[tuple[int, str]] = [(cell, label)]
            elif report.done == report.trials:
                others = [place for place, each in counted.items() if name in each.names]
            else:
                continue
            kinds = [
                kind
                for known, kind in words
                if known == name and all((*place, name, kind) in passed for place in others)
            ]
            if kinds:
                told = ", or ".join([words[name, kind] for kind in kinds[:_MOST_KINDS]])
                told += ", or …" if len(kinds) > _MOST_KINDS else ""
                holds = f": {info.condition!r} holds" if info.condition else ""
                message = f"the check {info.label!r} passes though `{name}` {told}{holds}."
                hint = _HINTS.get(kinds[0], "Add a condition that does not hold then.")
                yield Finding(subject.filename, info.line, message, hint)


def _weak_conditions(subject: Subject, report: RehearsalReport) -> Iterator[Finding]:
    """Yield the conditions with marks that hold whatever the answer is; all trials were made.

    Then the checks that were not tried to the end, and those whose process junk ends.
    """
    labels = answers_of_labels(subject.plan)
    for each in report.never:
        info = labels.get((each.cell, each.label))
        if info is None or not info.names or not _has_marks(subject.plan, info.key):
            continue
        message = f"no wrong answer that was tried makes {each.message!r} of {each.label!r} fail."
        hint = f"Let it depend on the answer, or leave it out, {_BESIDE}."
        yield Finding(subject.filename, info.line, message, hint)
    for cell in report.missed:
        told = "not all wrong answers were tried on this check, since it took too long."
        yield Finding(subject.filename, _line_of(subject.plan, cell), told)
    crashed = {(each.cell, each.name): each.words for each in reversed(report.crashed)}
    for (cell, name), words in crashed.items():
        message = f"the process of this check ends without a result if `{name}` {words}."
        hint = "Compare what is wrong in it before you pass it to a library."
        yield Finding(subject.filename, _line_of(subject.plan, cell), message, hint)


async def rehearse(subject: Subject, runs: AuthorRuns, progress: Progress) -> Findings:
    """Rehearse the grading of a source by its own solution, by junk, and by its empty release.

    The contract that the solution shows is kept, so that grading needs not record it, unless
    grading would refuse it. If the solution cannot be judged at all, that is advice.
    """
    try:
        trial = await asyncio.to_thread(trial_of, subject, subject.source)
        own = await runs.judge(trial, progress)
        found = await asyncio.to_thread(judge_solution, subject, own)
        if found.errors or own.contract is None:
            return found
        release = await asyncio.to_thread(trial_of, subject, subject.release, own.contract)
        result = await runs.judge(release, progress)
        empty = judge_empty(subject, result)
        if not empty.errors and not contract_problems(subject.filename, subject.plan, own):
            await runs.keep(trial, own.contract)
    except MograderError as error:
        message = f"grading was not rehearsed: {error}"
        return Findings(advice=(Finding(subject.filename, 1, message),))
    advice = tuple(sorted((*found.advice, *empty.advice)))
    return Findings(empty.errors, advice, found.answers)


def trial_of(subject: Subject, version: Version, contract: Contract | None = None) -> AuthorTrial:
    """Return a version of an item to judge; without a contract, the solution is recorded."""
    plan, checks = subject.plan, check_digests(subject.source.text, subject.plan)
    if contract is not None:  # a form to submit may have been added, so cells have other indexes
        checks |= check_digests(version.text, plan_source(version.text, version.name).plan)
    return AuthorTrial(
        text=without_mark(version.text),
        name=version.name,
        folder=version.folder,
        files=JudgeFiles(plan, contract, subject.source.folder),
        interface=interface_of(plan),
        skip=tuple(sorted(checks)),
    )
