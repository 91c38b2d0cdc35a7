"""The questions in an assignment's source: the cells of each, and the marking scale.

The cells of a question with checks are those that define the names its checks use. A question
without checks has the cells that carry its key in their name or in the heading above them, else all
cells that no check uses.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.notebook.cells import Cell, parse_cells, plain_text
from mograder.notebook.grading.grading_plan import GradingPlan, Part, Role
from mograder.notebook.grading.grading_split import plan_source
from mograder.notebook.source.release import with_hidden_tests
from mograder.notebook.source.solution_markers import find_blocks
from mograder.notebook.title import headings_of, markdown_of
from mograder.store.course.course import read_notebook, shown
from mograder.store.gradebook.grading_records import WHOLE

_SCALE = re.compile(
    r"///[ \t]*details[ \t]*\|[ \t]*Marking Scale[ \t]*\n(.*?)\n[ \t]*///", re.DOTALL
)
_DIRECTIVE = re.compile(r"\s*type:.*|\s*")
_NUMBERED = re.compile(r"(?:q|question|task|exercise|part)[\s_]*0*(\d+[a-z]?)", re.IGNORECASE)
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class SourceCell:
    """A cell of a source; ``own`` is its code, ``released`` what students get of it.

    ``solution`` is its code without the marks around solutions.
    """

    index: int
    name: str
    own: str
    released: str
    solution: str
    line: int
    students: bool


@dataclass(frozen=True, slots=True)
class QuestionSources:
    """A source's cells, the indexes of each question's cells for students, and its marking scale.

    ``scale`` is Markdown, "" if there is none. ``tasks`` are the words above each question's cells,
    Markdown as well. ``kept`` are the names that the notebook gives, and
    those that checks ask answers for.
    """

    cells: tuple[SourceCell, ...] = ()
    questions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    scale: str = ""
    tasks: tuple[tuple[str, str], ...] = ()
    kept: frozenset[str] = frozenset()

    def of(self, question: str) -> tuple[int, ...]:
        """Return the cells for students of a question; of the whole submission, all of them."""
        if question == WHOLE:
            return self.students
        return dict(self.questions).get(question, self.students)

    def task(self, question: str) -> str:
        """Return the words of a question; "" if the source has none above its cells."""
        return dict(self.tasks).get(question, "")

    @property
    def students(self) -> tuple[int, ...]:
        return tuple(each.index for each in self.cells if each.students)


NO_SOURCE = QuestionSources()


def read_question_sources(path: Path) -> QuestionSources:
    """Return what a source file tells about its questions; it is parsed again when it changed.

    Raises: InvalidInput if it cannot be read, or is no notebook.
    """
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _read(path: Path, mtime: int, size: int) -> QuestionSources:
    return question_sources(read_notebook(path), shown(path))


def question_sources(text: str, filename: str) -> QuestionSources:
    """Raise InvalidInput if it is no notebook, or its markers are wrong."""
    plan = plan_source(text, filename).plan
    own = parse_cells(text, filename).cells
    made = parse_cells(with_hidden_tests(text, filename, ()), filename).cells
    students = {each.index for each in plan.cells if each.role is Role.STUDENT}
    given = (each.defines for each in plan.cells if each.role is not Role.STUDENT)
    kept = frozenset(each.name for each in plan.answers).union(*given)
    marks = {line for each in find_blocks(text, filename) for line in (each.begin, each.end)}
    cells = tuple(
        SourceCell(
            cell.index,
            cell.name,
            cell.code,
            released.code,
            _without(marks, cell),
            cell.code_first,
            cell.index in students,
        )
        for cell, released in zip(own, made, strict=True)
    )
    questions = tuple(_questions(plan, own))
    tasks = tuple((key, _task(own, min(found), plan)) for key, found in questions)
    return QuestionSources(cells, questions, marking_scale(text), tasks, kept)


def _without(marks: Collection[int], cell: Cell) -> str:
    lines = enumerate(cell.code.split("\n"), start=1)
    return "\n".join(line for number, line in lines if cell.line_of(number) not in marks)


def marking_scale(text: str) -> str:
    """Return the Markdown of a source's ``/// details | Marking Scale``, "" without one."""
    found = _SCALE.search(plain_text(text))
    if found is None:
        return ""
    lines = found[1].splitlines()
    while lines and _DIRECTIVE.fullmatch(lines[0]):
        lines.pop(0)
    return textwrap.dedent("\n".join(lines)).strip()


def sources_or_none(path: Path | None) -> tuple[QuestionSources, str]:
    """Return what a source tells, and why it cannot be used, if so; nothing without a source."""
    if path is None:
        return NO_SOURCE, ""
    try:
        return read_question_sources(path), ""
    except (MograderError, OSError) as error:
        return NO_SOURCE, f"The source cannot be used: {error}"


def _questions(plan: GradingPlan, cells: Sequence[Cell]) -> Iterator[tuple[str, tuple[int, ...]]]:
    checked: dict[str, set[int]] = {}
    for part in (*plan.checks, *plan.beside):
        keys = {label.key for label in part.check.labels if label.key} if part.check else set()
        for key in keys:
            checked.setdefault(key, set()).update(_cells_of(part, plan))
    yield from ((key, tuple(sorted(found))) for key, found in checked.items() if found)
    used = set[int]().union(*checked.values())
    free = [
        cell.index for cell in plan.cells if cell.role is Role.STUDENT and cell.index not in used
    ]
    manual = [key for key in plan.marks or {} if key not in checked]
    named = {key: [each for each in free if _names(cells, each, key, plan)] for key in manual}
    rest = [each for each in free if not any(each in found for found in named.values())]
    for key in manual:
        if found := named[key] or rest or free:
            yield key, tuple(found)


def _cells_of(part: Part, plan: GradingPlan) -> Iterator[int]:
    """Yield the students' cells that define what a check uses, and the one that it stands in."""
    names = {*part.answers, *part.uses}
    for answer in plan.answers:
        if answer.name in names:
            yield from answer.cells
    for cell in plan.cells:
        if cell.role is Role.STUDENT and (cell.index == part.cell or names & set(cell.defines)):
            yield cell.index


def _names(cells: Sequence[Cell], index: int, key: str, plan: GradingPlan) -> bool:
    """Return whether a cell's name, or the nearest heading above it, contains a question's key."""
    wanted = _spoken(key)
    return wanted <= _spoken(cells[index].name) or wanted <= _spoken(_heading(cells, index, plan))


def _heading(cells: Sequence[Cell], index: int, plan: GradingPlan) -> str:
    for cell in reversed(cells[:index]):
        if plan.cells[cell.index].role is Role.STUDENT:
            return ""
        if found := headings_of(cell.code):
            return found[-1]
    return ""


def _task(cells: Sequence[Cell], index: int, plan: GradingPlan) -> str:
    """Return the texts between a cell and the answer, or the check, before it."""
    found: list[str] = []
    for cell in reversed(cells[:index]):
        text = markdown_of(cell.code)
        if plan.cells[cell.index].role is Role.STUDENT or (found and not text):
            break
        found += [_SCALE.sub("", text)] if text else []
    return "\n\n".join(reversed(found)).strip()


def _spoken(text: str) -> frozenset[str]:
    """Return the words of a key or a heading; "Question 4", "Task 4" and "Q4" are the same."""
    plain = _NUMBERED.sub(r" q\1 ", text)
    return frozenset(word.casefold() for word in _WORDS.findall(plain))
