"""Run a student's notebook against its own checks, and report the results.

First the integrity check, which decides which cells run and whose checks count; then the run, on a
copy, in the sandbox. A result counts if it was written while a cell ran that counts and holds that
very check, or calls it through a teacher's helper. A runtime that the notebook patches from within
(notebook/integrity.py) cannot be detected from outside: marks that count have to be given on a
machine of the graders.

A hub validates a few notebooks at a time, and one for each student (:class:`Validations`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath

from mograder.core.context_managers import under_way
from mograder.core.errors import Busy, InvalidInput
from mograder.core.name_lookup import counted
from mograder.core.tasks import Progress, SingleFlight
from mograder.grading.validation_report import (
    CellError,
    CheckStatus,
    IntegrityFindings,
    MarkedChecks,
    ValidatedCheck,
    ValidationReport,
    run_problem,
    with_marks,
)
from mograder.marks import NOTHING, Weights
from mograder.notebook.cells import (
    Cell,
    CellKind,
    LineEdit,
    NotebookText,
    parse_cells,
    replace_lines,
)
from mograder.notebook.grading.recording_cells import RecordingCells
from mograder.notebook.integrity import IntegrityReport, check_integrity
from mograder.notebook.points import (
    Check,
    checks_in,
    has_conditions,
    has_label_of_run,
    is_asynchronous,
    key_of,
    marks_of,
    stated_weights,
)
from mograder.notebook.source.release import without_mark
from mograder.processes.isolated_call import IsolatedCall
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    CheckResult,
    Executes,
    ExecutionRequest,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.protocol import COMMANDS_SLOT, Limits

_HIDDEN = "# HIDDEN TESTS"
_CODE_SHOWN = 300
_ASSERT = re.compile(r"^\s*assert\b", re.MULTILINE)
_CALL_TEST = "\n\n@app.cell\ndef _({0}):\n    {0}()\n    return\n"
_AWAIT_TEST = "\n\n@app.cell\nasync def _({0}):\n    await {0}()\n    return\n"
_WORST_FIRST = (CheckStatus.DANGER, CheckStatus.PARTIAL, CheckStatus.WARN, CheckStatus.SUCCESS)
_MOST_WAITING = 200
_OF_ONE_STUDENT = 4
_RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Submission:
    """A notebook to validate: its text, and where and how it may run.

    ``filename`` is its name in messages. ``release`` is the text it was made from, None if that is
    not available. ``folder`` holds the files beside it.
    """

    text: str
    filename: str
    environment: Path
    limits: Limits
    seconds: float
    release: str | None = None
    folder: Path | None = None
    uid_slot: int = COMMANDS_SLOT


async def validate(
    submission: Submission,
    execute: Executes,
    apart: IsolatedCall | None = None,
    begun: Callable[[], object] = lambda: None,
) -> ValidationReport:
    """Check the integrity of a notebook, run it, and return the report.

    ``apart`` parses large texts in another process, for callers such as a hub that must not block
    meanwhile. The student's file is not changed: a copy runs, with the released checks restored.
    ``begun`` is called when that run begins.

    Raises:
        InvalidInput: The release is not a notebook.
        MograderError: It could not be run at all, for a reason that is not the notebook's fault.
    """
    apart = apart or IsolatedCall()
    size = len(submission.text) + len(submission.release or "")
    prepared = await apart.call(partial(_prepare, submission), size=size)
    if isinstance(prepared, ValidationReport):
        return prepared
    request = ExecutionRequest(
        without_mark(prepared.text),
        PurePath(submission.filename).name,
        submission.environment,
        submission.limits,
        submission.seconds,
        folder=submission.folder,
        uid_slot=submission.uid_slot,
        begun=begun,
    )
    result = await execute(request)
    judge = partial(_judge, submission, prepared, result)
    return await apart.call(judge, size=size)


class Validations:
    """Validates students' notebooks that are requested concurrently.

    Two requests of a student for the same text share one run. A request for another text during
    that run is refused as busy, so that no student takes the others' turns. So are more than a few
    for the same text, since each holds it in memory until the run has ended.

    Mutable state: ``_last``, the key of the validation in progress by student, and ``_waiting``,
    how many requests wait for it.
    """

    def __init__(self, execute: Executes) -> None:
        """``execute`` limits how many run at a time."""
        self._execute = execute
        self._apart = IsolatedCall()
        self._last: dict[str, str] = {}
        self._waiting: Counter[str] = Counter()
        self._shared: SingleFlight[str, ValidationReport] = SingleFlight()

    async def validate(
        self, student: str, submission: Submission, progress: Progress
    ) -> ValidationReport:
        """Raises:
        Busy: Another text of this student is being validated, or too many requests wait.
        MograderError: As :func:`validate`.
        """
        if self._waiting[student] >= _OF_ONE_STUDENT:
            raise Busy("Your notebook is being validated.", retry_after=_RETRY_SECONDS)
        with under_way(self._waiting, student):
            text = f"{submission.filename}\0{submission.text}".encode("utf-8", "surrogatepass")
            key = f"{student} {hashlib.sha256(text).hexdigest()}"
            busy = self._shared.busy
            self._last = {each: of for each, of in self._last.items() if busy(of)}
            if self._last.get(student, key) != key:
                raise Busy("A notebook of yours is being validated.", retry_after=_RETRY_SECONDS)
            if len(self._shared) >= _MOST_WAITING and not busy(key):
                raise Busy("Too many notebooks are being validated.", retry_after=_RETRY_SECONDS)
            self._last[student] = key

            async def run(tell: Progress) -> ValidationReport:
                if others := len(self._shared) - 1:
                    tell(f"Waiting: {counted(others, 'notebook')} came before yours")
                begun = partial(tell, "Running the notebook")
                return await validate(submission, self._execute, self._apart, begun)

            return await self._shared.get(key, run, progress)

    async def close(self) -> None:
        await self._shared.close()


def _with_calls(notebook: NotebookText, called: Sequence[Cell]) -> str:
    """Return the text with a cell behind the others for each test that is a function."""
    calls = "".join(
        (_AWAIT_TEST if is_asynchronous(each) else _CALL_TEST).format(each.name) for each in called
    )
    if not calls:
        return notebook.text
    end = notebook.cells[-1].last
    return replace_lines(notebook.lines, [LineEdit(end + 1, end, tuple(calls.split("\n")[:-1]))])


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The text to run, and the cells and checks that the results of its run are compared with.

    ``checks`` are those of ``to_run``, and ``called`` the tests that are functions: behind the
    cells of ``to_run`` the text has one for each, which calls it.
    """

    text: str
    checks: tuple[Check, ...]
    called: tuple[Cell, ...]
    own: NotebookText
    to_run: NotebookText
    released: NotebookText | None
    integrity: IntegrityReport


def _judge(
    submission: Submission, prepared: _Prepared, result: ExecutionResult
) -> ValidationReport:
    integrity, judging = prepared.integrity, _Judging(prepared, result)
    checks, marks = judging.checks()
    return ValidationReport(
        submission.filename,
        result.outcome,
        judging.problem(submission.seconds),
        checks,
        tuple(judging.errors()),
        IntegrityFindings(integrity.level, integrity.findings),
        result.log_tail,
        result.seconds,
        marks,
    )


def _prepare(submission: Submission) -> _Prepared | ValidationReport:
    """Check the integrity; for a text that is not a notebook, return the report at once."""
    filename, release = submission.filename, submission.release
    released = None if release is None else parse_cells(release, filename)
    try:
        own = parse_cells(submission.text, filename)
        integrity = check_integrity(submission.text, release, filename)
        text = submission.text if integrity.restored is None else integrity.restored
        to_run = parse_cells(text, filename)
    except InvalidInput as error:
        if released is None:
            return ValidationReport(filename, Outcome.UNREADABLE, str(error))
        keys = {check.label: check.key for check in checks_in(released)}
        weights, why = stated_weights(released), "the notebook cannot be read"
        lost = [_not_run(*each, why, weights) for each in keys.items()]
        checks, marks = with_marks(lost, marks_of(released) or {}, weights)
        return ValidationReport(filename, Outcome.UNREADABLE, str(error), checks, marks=marks)
    found = tuple(checks_in(to_run))
    tests = (each.cell for each in found if each.is_test)
    functions = tuple(cell for cell in tests if cell.kind is CellKind.FUNCTION)
    text = _with_calls(to_run, functions)
    return _Prepared(text, found, functions, own, to_run, released, integrity)


def _not_run(label: str, key: str, why: str, known: Mapping[str, float]) -> ValidatedCheck:
    """Return a check that did not run; one of an unknown weight counts as one condition."""
    weights = NOTHING if label in known else Weights(0.0, 1.0)
    return ValidatedCheck(label, key, CheckStatus.NOT_RUN, (f"not run: {why}",), weights=weights)


def worst_result(
    results: Sequence[CheckResult], cells: Sequence[Cell], recording: RecordingCells
) -> CheckResult:
    """Return the worst result of a label in a run.

    Calls that only say that the label waits (``mo.stop(x is None, check("Q1", []))``) do not count
    where their cell came to the conditions.
    """
    came = {each.index for each in results if each.total_weight}
    left = {
        index: recording.waits_of(cells[index].code, results[0].label)
        for index in came
        if index < len(cells)
    }
    kept = []
    for each in results:
        says_nothing = each.status == "warn" and not each.total_weight
        if says_nothing and left.get(each.index, 0) > 0:
            left[each.index] -= 1
        else:
            kept.append(each)
    return min(kept, key=lambda each: _WORST_FIRST.index(CheckStatus(each.status)))


class _Judging:
    """One run, compared with the cells and checks of the notebook and its release."""

    def __init__(self, prepared: _Prepared, result: ExecutionResult) -> None:
        own, to_run, released = prepared.own, prepared.to_run, prepared.released
        counted = prepared.integrity.counted
        self._result = result
        self._to_run = to_run
        waiting: defaultdict[str, deque[Cell]] = defaultdict(deque)
        for cell in own.cells:
            waiting[cell.code.strip()].append(cell)
        alike = ((cell.index, waiting[cell.code.strip()]) for cell in to_run.cells)
        self._own = {index: cells.popleft() for index, cells in alike if cells}
        """The student's own cells by the indexes of those that run, of equal ones in order."""
        self._marks = marks_of(released or to_run) or {}
        self._expected = stated_weights(released or to_run)
        self._recording = RecordingCells(released or to_run)
        self._cells = {each.index: each for each in result.cells}
        self._told: dict[str, list[CheckResult]] = {}
        for told in result.checks:
            self._told.setdefault(told.label, []).append(told)
        everything = frozenset(range(len(to_run.cells)))
        self._counted = everything if counted is None else counted
        expected = prepared.checks if released is None else checks_in(released)
        self._keys = {check.label: check.key for check in expected}
        self._places: dict[str, list[Check]] = {label: [] for label in self._keys}
        for check in prepared.checks:
            if check.cell.index in self._counted and check.label in self._places:
                self._places[check.label].append(check)
        self._add_users_of_helpers()
        called = enumerate(prepared.called, len(to_run.cells))
        self._ran_by = {cell.index: index for index, cell in called}
        """The indexes of the cells that call tests, by the tests' own."""

    def _add_users_of_helpers(self) -> None:
        """Add the cells that call a check through a helper to its places, before its own cell."""
        users: dict[str, list[Cell]] = defaultdict(list)
        for cell in self._to_run.cells:
            if cell.index in self._counted:
                for helper in self._recording.helpers_of(cell.code):
                    users[helper].append(cell)
        for places in self._places.values() if users else ():
            codes = dict.fromkeys(each.cell.code.strip() for each in places if not each.is_test)
            cells = [cell for code in codes for cell in users.get(code, ())]
            places[:0] = [replace(places[0], cell=cell, line=cell.line_of(1)) for cell in cells]

    def problem(self, seconds: float) -> str:
        """Return why the notebook did not run to its end, in a sentence for its student."""
        result, cells, where = self._result, self._to_run.cells, ""
        if result.interrupted is not None and result.interrupted < len(cells):
            line = self._line(cells[result.interrupted], 1)
            known = f" in the cell at line {line}"
            where = " in a cell that was put back" if line is None else known
        if problem := run_problem(result, seconds, where):
            return problem
        return "Not all of its cells were run." if len(result.cells) < len(cells) else ""

    def checks(self) -> MarkedChecks:
        """Return what should have run, then what calls like ``check(f"Q{n}", …)`` reveal."""
        checks = [self._check(label, places) for label, places in self._places.items()]
        dynamic = {
            cell.index: cell
            for cell in self._to_run.cells
            if cell.index in self._counted
            if has_label_of_run(cell.code) or self._recording.records_any(cell.code)
        }
        found: dict[str, list[CheckResult]] = {}
        for each in self._result.checks:
            if each.index in dynamic and each.label not in self._places:
                found.setdefault(each.label, []).append(each)
        for label, results in found.items():
            cell = dynamic[results[0].index]
            checks.append(self._judged(label, results, cell, cell.line_of(1)))
        return with_marks(checks, self._marks, self._expected)

    def _check(self, label: str, places: list[Check]) -> ValidatedCheck:
        if places and places[0].is_test:
            told = self._ran(places[0])
            if told is not None and told.status in (CellStatus.OK, CellStatus.ERROR):
                return self._tested(places[0], told)
        else:
            indexes = {each.cell.index for each in places}
            results = [each for each in self._told.get(label, ()) if each.index in indexes]
            if results:
                place = next(each for each in places if each.cell.index == results[-1].index)
                return self._judged(label, results, place.cell, place.line)
        return _not_run(label, self._keys[label], self._why_not(places), self._expected)

    def _ran(self, check: Check) -> CellResult | None:
        """Return the result of the cell that holds a check, or calls it."""
        index = check.cell.index
        return self._cells.get(self._ran_by.get(index, index))

    def _tested(self, check: Check, told: CellResult) -> ValidatedCheck:
        cell, fails = check.cell, told.status is CellStatus.ERROR
        hidden = _HIDDEN in cell.code
        waits = hidden and not _ASSERT.search(cell.code)
        status = CheckStatus.DANGER if fails else CheckStatus.WARN if waits else CheckStatus.SUCCESS
        line = told.line if cell.index not in self._ran_by else None
        error = told.message or _line_of(cell.code, line or 0) or "an assertion failed"
        named = error if told.error_type == "AssertionError" else f"{told.error_type}: {error}"
        return ValidatedCheck(
            check.label,
            check.key,
            status,
            (named,) if fails else (),
            weights=Weights(float(status is CheckStatus.SUCCESS), 1.0, not fails),
            cell=cell.name,
            line=self._line(cell, line or 1),
            hidden=hidden,
            waits=waits,
            index=self._index(cell),
        )

    def _why_not(self, places: list[Check]) -> str:
        if not places:
            return "no cell that counts holds it"
        told = self._ran(places[0])
        if told is None:
            return "the notebook ended before it"
        match told.status:
            case CellStatus.SKIPPED:
                return told.message or "its cell was skipped"
            case CellStatus.ERROR:
                return f"its cell has an error ({told.error_type})"
            case CellStatus.INTERRUPTED:
                return "its cell did not end"
        return "its cell ran without it"

    def _judged(
        self, label: str, results: list[CheckResult], cell: Cell, line: int
    ) -> ValidatedCheck:
        """Return the worst of several results: a result that was written twice is not trusted."""
        worst = worst_result(results, self._to_run.cells, self._recording)
        status, hidden = CheckStatus(worst.status), _HIDDEN in cell.code
        return ValidatedCheck(
            label,
            key_of(label),
            status,
            worst.details,
            weights=Weights(worst.earned_weight, worst.total_weight, status is CheckStatus.SUCCESS),
            cell=cell.name,
            line=self._line(cell, line - cell.line_of(1) + 1),
            hidden=hidden,
            waits=hidden and not has_conditions(cell.code, label),
            index=self._index(cell),
        )

    def errors(self) -> Iterator[CellError]:
        tests = {each.cell.index for of in self._places.values() for each in of if each.is_test}
        for told in self._result.cells:
            if told.status is CellStatus.ERROR and told.index not in tests:
                kind, message = told.error_type, told.message
            elif told.status is CellStatus.INTERRUPTED:
                kind, message = "Interrupted", "It was running at the end."
            else:
                continue
            if told.index < len(self._to_run.cells):
                cell = self._to_run.cells[told.index]
                line, code = self._line(cell, told.line or 1), _line_of(cell.code, told.line or 1)
                tail, index = told.output_tail, self._index(cell)
                yield CellError(cell.name, line, kind, message, tail, code, index)

    def _index(self, cell: Cell) -> int | None:
        own = self._own.get(cell.index)
        return None if own is None else own.index

    def _line(self, cell: Cell, line: int) -> int | None:
        """Return the line in the student's own file for a line of a cell's code."""
        own = self._own.get(cell.index)
        inside = 1 <= line <= cell.code.count("\n") + 1
        return None if own is None else own.line_of(line if inside else 1)


def _line_of(code: str, number: int) -> str:
    lines = code.split("\n")
    return lines[number - 1].strip()[:_CODE_SHOWN] if 1 <= number <= len(lines) else ""
