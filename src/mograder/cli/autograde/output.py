"""The output of ``mograder autograde``: 0.3.16's lines, table and events, or JSON.

Also that of ``--preview`` and ``--verify``.

See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType

import click
from rich.cells import cell_len, set_cell_size

from mograder.cli.autograde.selection import Chosen
from mograder.cli.shared.console import plain, print_json
from mograder.cli.shared.output import counting, reporting
from mograder.cli.shared.result import Result, aligned, tell
from mograder.core.csv_table import number_text
from mograder.core.name_lookup import counted
from mograder.core.settings import LoadedSettings
from mograder.grading.submissions.autograde import Autograded
from mograder.grading.submissions.comparison import (
    ComparedRuns,
    MarkChange,
    Verified,
    verify_results,
)
from mograder.grading.submissions.graded_assignment import GradedAssignment
from mograder.grading.submissions.grading_result import grading_key
from mograder.grading.submissions.result_forms import Column, ResultRow
from mograder.marks import sum_of_marks
from mograder.store.course.course import shown
from mograder.store.gradebook.gradebook import viewed_gradebook

_COLOURS: Mapping[str, str] = MappingProxyType(
    {"PASS": "green", "PARTIAL": "blue", "FAIL": "red", "WAIT": "yellow", "ERR": "red"}
)
_SHORT: Mapping[str, str] = MappingProxyType({"PARTIAL": "PART"})
_WIDTH, _MOST_HEAD = 6, 16
_LEAST_NAME = 10


class Output:
    """Prints how grading goes on; ``events``: as 0.3.16's JSON lines. Call :meth:`close` last."""

    def __init__(self, *, jobs: int, events: bool) -> None:
        self._jobs = jobs
        self._events = events
        self._open = ExitStack()
        self._report: Callable[[str], None] = lambda _: None
        self._advance: Callable[[], None] = lambda: None

    def say(self, line: str) -> None:
        tell(plain(line))

    def warn(self, message: str) -> None:
        """Print a warning on stderr, as an event if they were asked for."""
        self.event("warning", message=message)
        if not self._events:
            click.echo(f"Warning: {plain(message)}", err=True)

    def event(self, kind: str, **facts: object) -> None:
        if self._events:
            print_json({"event": kind, **facts}, err=True)

    def prepares(self) -> None:
        self._report = self._open.enter_context(reporting(quiet=self._events))

    def progress(self, message: str) -> None:
        self._report(message)

    def begins(self, assignment: GradedAssignment, total: int, skipped: int) -> None:
        """Print what is graded now, and show a bar for it."""
        self.close()
        self.event("start", total=total)
        self.event("sandbox_start")
        self.event("sandbox_done", created=True)
        if skipped:
            left_out = counted(skipped, "up-to-date submission")
            self.say(f"Skipping {left_out} (use --force to re-grade all)")
        if not total:
            # With --failed none is skipped, and results may be of an earlier source or submission.
            why = "All submissions are up to date" if skipped else "No submission has failed"
            self.say(f"{why} — nothing to do.")
            return
        for each in assignment.labels:
            self.event("check", notebook=assignment.filename, label=each.label, status="PASS")
        if assignment.marks:
            marks = " ".join(f"{key}={number_text(m)}" for key, m in assignment.marks.items())
            full = number_text(sum_of_marks(assignment.marks.values()))
            self.say(f"  Marks metadata: {marks} (total: {full})")
        workers = counted(self._jobs, "worker")
        self.say(f"Autograding {counted(total, 'submission')} with {workers}...")
        shown_bar = counting(total, assignment.name, quiet=self._events)
        self._advance = self._open.enter_context(shown_bar)

    def ended(self, row: ResultRow, completed: int, total: int) -> None:
        self._advance()
        self.event("progress", completed=completed, total=total, notebook=f"{row.student}.py")

    def close(self) -> None:
        self._open.close()
        self._open = ExitStack()
        self._report = lambda _: None
        self._advance = lambda: None

    def finished(self, done: Autograded) -> None:
        self.close()
        rows = [row for row in done.rows if row.fresh]
        columns = done.columns
        for row in rows:
            self._tell_changes(row)
        if rows:
            for line in table(rows, columns):
                tell(line)
        labels = [column.key for column in columns]
        self.event("results", labels=labels, rows=[_event_row(row, columns) for row in rows])
        copies = [
            row.student
            for row in rows
            if not row.problem and (done.output / f"{row.student}.py").is_file()
        ]
        if len(copies) == 1:
            self.say(f"  Grading copy: {shown(done.output / copies[0])}.py")
        elif copies:
            self.say(f"  Grading copies: {len(copies)} in {shown(done.output)}")
        waiting = [row for row in done.rows if row.needs_attention]
        if waiting:
            names = ", ".join(row.student for row in waiting)
            self.warn(f"{done.assignment.name}: no result that counts for {names}.")

    def _tell_changes(self, row: ResultRow) -> None:
        cells = [each for each in row.tampered if each.startswith("cell")]
        checks = ", ".join(each for each in row.tampered if each not in cells)
        if checks:
            self.say(f"  WARNING: {row.student} — tampered cells reinjected: {checks}")
        if cells:
            count = counted(len(cells), "cell")
            self.say(f"  WARNING: {row.student} — non-solution cells reinjected: {count}")
        for note in row.notes:
            self.say(f"  WARNING: {row.student} — {note}")


def table(rows: Sequence[ResultRow], columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of a table: a word for each check of each submission, and its marks."""
    wide = max(_LEAST_NAME, *(cell_len(plain(row.student)) for row in rows))
    marked = any(row.max_mark is not None for row in rows)
    marks_wide = max(len("Marks"), *(len(_marks(row)) for row in rows if not row.problem), 0)
    tampered = any(row.tampered for row in rows)
    heads = _heads(columns)
    parts = [
        f"{'Notebook':<{wide}}",
        *heads,
        *([f"{'Marks':<{marks_wide}}"] if marked else []),
        "Errors",
    ]
    head = "  ".join([*parts, *(["Tampered"] if tampered else [])])
    yield head
    yield "-" * cell_len(head)
    for row in rows:
        cells = [set_cell_size(plain(row.student), wide)]
        if row.problem:
            yield "  ".join([*cells, click.style(f"EXPORT FAILED: {plain(row.problem)}", fg="red")])
            continue
        words = (row.word(column) for column in columns)
        for word, above in zip(words, heads, strict=True):
            text = f"{_SHORT.get(word, word):>{cell_len(above)}}"
            cells.append(click.style(text, fg=_COLOURS.get(word, "bright_black")))
        if marked:
            cells.append(f"{_marks(row):<{marks_wide}}")
        cells.append(f"{row.cell_errors:>{len('Errors')}}")
        yield "  ".join([*cells, *([plain(", ".join(row.tampered))] if row.tampered else [])])
    if any(row.waiting for row in rows):
        yield "  (… wait): the marks of questions that a person marks or confirms."


def _heads(columns: Sequence[Column]) -> list[str]:
    """Return the columns' keys, or their labels where a question has several checks."""
    keys = [column.key for column in columns]
    names = keys if len(set(keys)) == len(keys) else [column.label for column in columns]
    short = (plain(name)[:_MOST_HEAD] for name in names)
    return [" " * (_WIDTH - cell_len(name)) + name for name in short]


def _marks(row: ResultRow) -> str:
    marks = f"{number_text(row.auto_mark) or '?'}/{number_text(row.max_mark)}"
    return f"{marks} ({number_text(row.waiting)} wait)" if row.waiting else marks


def answer_of(chosen: Chosen, done: Autograded) -> dict[str, object]:
    """Return what came of grading an assignment as ``--json`` prints it."""
    return {
        "assignment": done.assignment.name,
        "output": str(done.output),
        "warnings": list(done.assignment.warnings),
        "notes": list(chosen.notes),
        "submissions": [_answer_row(row) for row in done.rows],
    }


def _answer_row(row: ResultRow) -> dict[str, object]:
    return {
        "student": row.student,
        "state": row.state.value,
        "up_to_date": not row.fresh,
        "needs_attention": row.needs_attention,
        "problem": row.problem,
        "auto_mark": row.auto_mark,
        "auto_available": row.auto_available,
        "max_mark": row.max_mark,
        "questions": [
            {
                "key": each.key,
                "earned": each.earned,
                "available": each.available,
                "state": each.state.value,
                "reason": each.reason,
            }
            for each in row.questions
        ],
        "checks": [
            {"label": column.label, "key": column.key, "result": word}
            for column, word in row.labels
        ],
        "cell_errors": row.cell_errors,
        "tampered": list(row.tampered),
        "notes": list(row.notes),
    }


def _event_row(row: ResultRow, columns: Sequence[Column]) -> dict[str, object]:
    marks = {} if row.max_mark is None else {"auto_mark": row.auto_mark, "total_mark": row.max_mark}
    return {
        "notebook": row.student,
        "checks": row.words_by_key(columns),
        "cell_errors": row.cell_errors,
        "export_error": row.problem,
        "tampered": list(row.tampered),
        **marks,
    }


_NONE = "-"


def preview_lines(chosen: Chosen, compared: ComparedRuns) -> Iterator[str]:
    yield from chosen.notes
    rows = [(each.student, f"{each.question}: {_told(each)}") for each in compared.changes]
    yield from aligned(rows, indent="  ")
    changed = {each.student for each in compared.changes}
    for student in compared.without_result:
        yield f"  {student}: no result{'' if student in changed else ', so nothing would change'}"
    same = compared.judged - compared.gain - compared.lose
    yield (
        f"{chosen.files.name}: {compared.judged} judged; {compared.gain} gain marks, "
        f"{compared.lose} lose marks, {same} keep theirs."
    )
    yield "Preview — nothing was recorded. Without --preview it is."


def preview_json(chosen: Chosen, compared: ComparedRuns) -> dict[str, object]:
    return {
        "assignment": chosen.files.name,
        "notes": list(chosen.notes),
        "judged": compared.judged,
        "without_result": list(compared.without_result),
        "changes": [
            {
                "student": each.student,
                "question": each.question,
                "before": each.before,
                "after": each.after,
                "difference": each.difference,
                "counts_instead": each.marker,
            }
            for each in compared.changes
        ],
    }


def _told(change: MarkChange) -> str:
    points = f"{number_text(change.before) or _NONE} -> {number_text(change.after) or _NONE}"
    if change.marker:
        return f"{points}, but the mark by {change.marker} counts: look at it again"
    sign = "+" if change.difference > 0 else ""
    return f"{points} ({sign}{number_text(change.difference)})"


def verify(given: Sequence[Chosen], loaded: LoadedSettings) -> Result:
    """Return what does not fit in the results of assignments."""
    key = grading_key(loaded)
    with viewed_gradebook(loaded.gradebook_path) as book:
        found = [(each, verify_results(book, key, each.files, each.submissions)) for each in given]
    wrong = any(result.problems for _, results in found for result in results)
    told = [
        {
            "assignment": chosen.files.name,
            "output": str(chosen.output),
            "results": [
                {"student": each.student, "problems": list(each.problems)} for each in results
            ],
        }
        for chosen, results in found
    ]
    return Result({"version": 1, "assignments": told}, _lines(found), int(wrong))


def _lines(found: Sequence[tuple[Chosen, Sequence[Verified]]]) -> Iterator[str]:
    for chosen, results in found:
        for result in results:
            for problem in result.problems:
                yield f"  {plain(result.student)}: {plain(problem)}"
        wrong = sum(bool(result.problems) for result in results)
        fit = len(results) - wrong
        yield f"{shown(chosen.output)}: {fit} of {len(results)} results fit."
