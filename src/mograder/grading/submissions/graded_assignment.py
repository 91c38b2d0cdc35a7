"""An assignment that is prepared for grading: its plan, contract, environment and release.

All of it comes from the author's files and the course's settings, nothing from a submission.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from mograder import __version__
from mograder.core.errors import InvalidInput
from mograder.core.tasks import Progress
from mograder.grading.submissions.contract_recording import (
    Recording,
    check_digests,
    keep_contract,
    kept_contract,
    record_contract,
)
from mograder.grading.submissions.grading_result import Basis
from mograder.grading.submissions.grading_tools import GradingTools
from mograder.grading.submissions.question_results import (
    ExpectedLabel,
    expected_labels,
    released_labels,
)
from mograder.notebook.cells import NotebookText, parse_cells
from mograder.notebook.findings import refuse
from mograder.notebook.grading.grading_plan import GradingPlan, code_digest
from mograder.notebook.grading.grading_split import plan_source, unknown_keys
from mograder.notebook.pep723 import ItemKind, read_kind, read_script
from mograder.notebook.points import (
    asks_for_answer,
    is_editable,
    labels_in,
    marks_of,
    stated_weights,
)
from mograder.notebook.source.release import with_hidden_tests
from mograder.sandbox.execution.item_limits import limits_for
from mograder.sandbox.execution.judging import JudgeFiles
from mograder.sandbox.execution.notebook_copies import folder_digest
from mograder.sandbox.inside.grading_contract import Contract, render_contract
from mograder.sandbox.protocol import Deadlines, Limits, timed
from mograder.store.course.course import read_notebook, shown

_ALIKE = 0.5
"""The share of a source's released cells that a release of it has at least, if it is of another
version of the source."""


@dataclass(frozen=True, slots=True)
class AssignmentFiles:
    """The files of an assignment; ``name`` is that of its directory.

    Without a source, checks can only run beside the answers, so all marks are unprotected.
    """

    name: str
    source: Path | None
    release: Path | None


@dataclass(frozen=True, slots=True)
class JudgedSource:
    """The parts of a source that grading needs: its plan, and the files for the judge.

    ``beside`` is the text that is compared with a submission whose checks run beside its answers,
    None without such checks.
    """

    plan: GradingPlan
    files: JudgeFiles
    beside: str | None


@dataclass(frozen=True, slots=True)
class GradedAssignment:
    """An assignment that is prepared once, and used for all of its submissions.

    ``filename`` is the source's path for messages. ``source`` is None without one. ``release`` is
    None if there is none that belongs to the source. ``warnings`` are sentences for the grader.

    ``checks`` are the digests of cells with nothing but checks, which a worker leaves out.
    ``labels`` are those that every submission should have.
    """

    name: str
    filename: str
    source: JudgedSource | None
    release: str | None
    release_folder: Path | None
    environment: Path
    limits: Limits
    deadlines: Deadlines
    marks: Mapping[str, float] | None
    warnings: tuple[str, ...]
    basis: Basis
    checks: frozenset[str] = frozenset()
    labels: tuple[ExpectedLabel, ...] = ()


async def prepare_assignment(
    files: AssignmentFiles, tools: GradingTools, progress: Progress
) -> GradedAssignment:
    """Return an assignment that is ready for grading; its contract is recorded if none is kept.

    Raises:
        InvalidInput: The source or release cannot be read, the source is a lecture, it cannot be
            graded by its checks, or the author's own solution does not pass them.
        MograderError: Its environment cannot be built, or no sandbox runs.
    """
    if files.source is None:
        return await _without_source(files, tools, progress)
    unprotected = tools.settings.of_item(files.name).unprotected
    read = await asyncio.to_thread(_read, files.source, files.release, unprotected)
    environment = await tools.environment(read.text, progress)
    beside = await asyncio.to_thread(digest_beside, files.source)
    recording = Recording(
        text=read.text,
        filename=read.filename,
        plan=read.plan,
        environment=environment,
        limits=limits_for(tools.settings, read_script(read.text), files.name),
        deadlines=timed(Deadlines(), tools.settings.defaults.timeout),
        folder=files.source.absolute().parent,
        files_sha256=beside,
    )
    contract = await _contract(recording, tools, progress)
    return GradedAssignment(
        name=files.name,
        filename=read.filename,
        source=JudgedSource(
            read.plan, JudgeFiles(read.plan, contract, recording.folder), read.beside
        ),
        release=read.release,
        release_folder=None if files.release is None else files.release.absolute().parent,
        environment=environment,
        limits=recording.limits,
        deadlines=recording.deadlines,
        marks=read.plan.marks,
        warnings=read.warnings,
        basis=replace(
            await asyncio.to_thread(_basis, environment, files.release, read.release),
            source_sha256=_sha256(read.text),
            contract_sha256=_sha256(render_contract(contract)),
            source_files_sha256=beside,
        ),
        checks=read.checks,
        labels=expected_labels(read.plan, contract, read.weights),
    )


@dataclass(frozen=True, slots=True)
class _Read:
    text: str
    filename: str
    plan: GradingPlan
    release: str | None
    checks: frozenset[str]
    beside: str | None
    weights: Mapping[str, float]
    warnings: tuple[str, ...]


def _read(source: Path, release: Path | None, unprotected: Collection[str]) -> _Read:
    text, filename = read_notebook(source), shown(source)
    if read_kind(text) == ItemKind.LECTURE:
        hint = "Remove `# mograder-type` from its header to make it an assignment."
        raise InvalidInput(f"{filename}: this is a lecture, which has no marks.", hint=hint)
    planned = plan_source(text, filename, unprotected=unprotected)
    refuse(planned.errors)
    made = with_hidden_tests(text, filename, ())
    own, warning = _release(made, filename, release)
    released = (cell for cell in own.cells if not asks_for_answer(cell)) if own else ()
    checks = {code_digest(cell.code) for cell in released if any(labels_in(cell.code))}
    beside = {part.cell for part in planned.plan.beside}
    return _Read(
        text=text,
        filename=filename,
        plan=planned.plan,
        release=own.text if own else None,
        checks=check_digests(text, planned.plan) | check_digests(made, planned.plan) | checks,
        beside=with_hidden_tests(text, filename, beside) if beside else None,
        weights=stated_weights(parse_cells(text, filename)),
        warnings=(*unknown_keys(planned.plan, unprotected, filename), *filter(None, [warning])),
    )


def _release(made: str, filename: str, release: Path | None) -> tuple[NotebookText | None, str]:
    """Return the release if it belongs to the source, and the warning about it, "" without.

    ``made`` is the release that the source would give now.
    """
    if release is None:
        return None, (
            f"{filename}: there is no release of it, so submissions run without its files, and "
            "nothing tells which of their cells were changed."
        )
    told = shown(release)
    text = read_notebook(release)
    try:
        own = parse_cells(text, told)
    except InvalidInput as error:
        return None, f"The release cannot be used: {error}"
    cells = parse_cells(made, filename).cells
    expected = {code_digest(cell.code) for cell in cells if not is_editable(cell)}
    found = {code_digest(cell.code) for cell in own.cells}
    if len(expected & found) < _ALIKE * len(expected):
        return None, (
            f"{told} does not belong to {filename}: they have other cells. Submissions are not "
            "compared with it. Make it again with `mograder generate`."
        )
    if expected <= found:
        return own, ""
    return own, (
        f"{told} was made from another version of {filename}. Submissions are compared with it as "
        "it is, and judged by the source."
    )


async def _contract(recording: Recording, tools: GradingTools, progress: Progress) -> Contract:
    """Return the kept contract, or record one; a source without checks to judge needs none."""
    if not recording.plan.checks:
        return Contract(recording.plan.source_sha256, (), ())
    kept = await asyncio.to_thread(kept_contract, tools.contracts, recording)
    if kept is not None:
        return kept
    progress("Judging the author's own solution")
    recorded = await record_contract(recording, tools.runner, tools.slots)
    await asyncio.to_thread(keep_contract, tools.contracts, recording, recorded)
    return recorded


async def _without_source(
    files: AssignmentFiles, tools: GradingTools, progress: Progress
) -> GradedAssignment:
    release = files.release
    text = "" if release is None else await asyncio.to_thread(read_notebook, release)
    filename = files.name if release is None else shown(release)
    cells = None if release is None else await asyncio.to_thread(parse_cells, text, filename)
    warning = (
        f"There is no source of {files.name}: the checks of each submission run beside its "
        "answers, which can forge them. Confirm every mark."
    )
    environment = await tools.environment(text, progress)
    return GradedAssignment(
        name=files.name,
        filename=filename,
        source=None,
        release=None if release is None else text,
        release_folder=None if release is None else release.absolute().parent,
        environment=environment,
        limits=limits_for(tools.settings, read_script(text), files.name),
        deadlines=timed(Deadlines(), tools.settings.defaults.timeout),
        marks=None if cells is None else marks_of(cells),
        warnings=(warning,),
        basis=await asyncio.to_thread(_basis, environment, release, text),
        labels=() if cells is None else released_labels(cells),
    )


def _basis(environment: Path, release: Path | None, text: str | None) -> Basis:
    """Return the basis of results that have no source; ``text`` is that of the release."""
    return Basis(
        release_sha256=_sha256(text or ""),
        release_files_sha256=digest_beside(release),
        environment=environment.name,
        mograder=__version__,
    )


def digest_beside(notebook: Path | None) -> str:
    """Return a digest of the files beside a notebook; empty without one, or if there is none."""
    if notebook is None or not notebook.is_file():
        return ""
    return folder_digest(notebook.absolute().parent)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""


def source_name(assignment: GradedAssignment) -> str:
    """Return the file name under which a worker runs every submission.

    It is the author's, since a student's could be that of a module.
    """
    name = PurePath(assignment.filename).name
    return name if name.endswith(".py") else f"{name}.py"
