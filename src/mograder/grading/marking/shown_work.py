"""A submission as a marker sees it: the cells that answer each question.

A submission's cells are compared with those of the release: cells that are as they were handed out
are the teacher's, all others the student's. One of these belongs to the question at whose place
between the teacher's cells it stands, so that a cell that a student added is found, too.
"""

from __future__ import annotations

import ast
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mograder.core.errors import InvalidInput
from mograder.grading.marking.question_sources import QuestionSources, SourceCell
from mograder.notebook.cell_pairs import Aligner, code_of
from mograder.notebook.cells import Cell, parse_cells, tree_of
from mograder.notebook.parsing import NotPython, cell_names
from mograder.notebook.points import (
    GRADERS_CELLS,
    cell_labels,
    is_answer_name,
    is_marks_cell,
    key_of,
    plain_code,
)
from mograder.notebook.source.release import SUBMIT
from mograder.processes.isolated_call import IsolatedCall
from mograder.store.gradebook.grading_records import WHOLE

_MOST_COMPARED = 250_000
"""Pairs of cells to compare: a student chooses the number of cells."""

_KEPT = 1000
_KEPT_CHARACTERS = 20_000_000
"""Submissions, and their characters, of which the cells are kept in memory."""

_NAMELESS = frozenset(("", "_", "setup"))


@dataclass(frozen=True, slots=True)
class WorkCell:
    """A cell; ``index`` is its place in the notebook, ``line`` its first line in the file.

    ``text`` is the Markdown of a written answer, "" for code. ``own`` is whether it belongs to the
    question.
    """

    index: int
    name: str
    code: str
    line: int
    text: str = ""
    own: bool = True


@dataclass(frozen=True, slots=True)
class ShownWork:
    """A student's cells with the questions of each; ``problem`` says why there are none.

    ``text`` is the file's if it is no notebook.
    """

    cells: tuple[tuple[WorkCell, frozenset[str]], ...] = ()
    problem: str = ""
    text: str = ""

    def of(self, question: str) -> tuple[WorkCell, ...]:
        """Return the student's cells; ``own`` tells those of a question, or all if none is."""
        own = [question == WHOLE or question in keys for _, keys in self.cells]
        every = not any(own)
        return tuple(
            replace(cell, own=every or mine)
            for (cell, _), mine in zip(self.cells, own, strict=True)
        )


@dataclass(frozen=True, slots=True)
class WorkToShow:
    text: str
    filename: str
    sources: QuestionSources


class Works:
    """The submissions that markers look at; each is parsed once.

    Mutable state: ``_known``, the ones looked at last, and ``_characters``, those of their texts.
    """

    def __init__(self, kept_characters: int = _KEPT_CHARACTERS) -> None:
        self._apart = IsolatedCall()
        self._kept_characters = kept_characters
        self._known: dict[WorkToShow, ShownWork] = {}
        self._characters = 0

    async def show(self, work: WorkToShow, whose: str = "") -> ShownWork:
        """Return :func:`show_work` of a submission; a large text is parsed in another process.

        ``whose`` is the person if the text is the asker's own (:meth:`IsolatedCall.call`).
        """
        if (found := self._known.get(work)) is None:
            call = partial(show_work, work)
            try:
                found = await self._apart.call(call, size=len(work.text), whose=whose)
            except InvalidInput as error:
                found = ShownWork(problem=str(error), text=work.text)
        if self._known.pop(work, None) is None:
            self._characters += len(work.text)
        self._known[work] = found
        while len(self._known) > _KEPT or self._characters > self._kept_characters:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._characters -= len(oldest.text)
        return found


def show_work(work: WorkToShow) -> ShownWork:
    """Return a student's cells by question; a text that cannot be parsed is shown as it is."""
    try:
        cells = parse_cells(work.text, work.filename).cells
    except InvalidInput as error:
        return ShownWork(problem=str(error), text=work.text)
    marks = {SUBMIT, *GRADERS_CELLS}
    own = [each for each in cells if marks.isdisjoint(map(str.strip, each.code.split("\n")))]
    if not work.sources.cells:
        return ShownWork(tuple(_by_checks(own)))
    return ShownWork(tuple(_by_places(own, work.sources)))


def solution_cells(sources: QuestionSources, question: str) -> tuple[WorkCell, ...]:
    """Return the author's cells of a question, without the marks around solutions."""
    chosen = set(sources.of(question))
    return tuple(
        _work_cell(each.index, each.name, each.solution, each.line, is_solution=True)
        for each in sources.cells
        if each.index in chosen
    )


def _shown(cell: Cell) -> WorkCell:
    return _work_cell(cell.index, cell.name, cell.code, cell.code_first)


def _work_cell(
    index: int, name: str, code: str, line: int, *, is_solution: bool = False
) -> WorkCell:
    shown = "" if name in _NAMELESS else name
    text = written_text(name, code, is_solution=is_solution)
    return WorkCell(index, shown, code.strip("\n"), line, text)


def written_text(name: str, code: str, *, is_solution: bool = False) -> str:
    """Return the Markdown of a written answer, or of a cell with nothing but ``mo.md``; else "".

    It is "" also if the cell has several texts, or one with values in it: a marker must not take a
    part for the answer. Of a solution, the text that replaces the placeholder is the only one.
    """
    if not is_answer_name(name) and "md" not in code:
        return ""  # parsing takes milliseconds, and a class has thousands of cells
    tree = tree_of(code)
    match tree.body if tree else None:
        case [ast.Expr(value=ast.Call(func=ast.Attribute(attr="md"), args=[ast.Constant()]))]:
            is_prose = True
        case _:
            is_prose = False
    if tree is None or not (is_answer_name(name) or is_prose):
        return ""
    statements = _last_assigned(tree.body) if is_solution else tree.body
    nodes = [each for statement in statements for each in ast.walk(statement)]
    texts = [
        each.value
        for each in nodes
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value.strip()
    ]
    if len(texts) != 1 or any(isinstance(each, ast.JoinedStr) for each in nodes):
        return ""
    return textwrap.dedent(texts[0]).strip()


def _last_assigned(statements: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return statements without the assignments of names that later ones assign again."""
    kept: dict[str | int, ast.stmt] = {}
    for number, each in enumerate(statements):
        match each:
            case ast.Assign(targets=[ast.Name(id=name)]):
                kept[name] = each
            case _:
                kept[number] = each
    return list(kept.values())


def _by_checks(cells: Sequence[Cell]) -> Iterator[tuple[WorkCell, frozenset[str]]]:
    """Yield the cells of a submission without a source: those before a check answer it."""
    waiting: list[Cell] = []
    for cell in cells:
        keys = frozenset(map(key_of, cell_labels(cell)))
        if keys:
            yield from ((_shown(each), keys) for each in waiting)
            waiting = []
        elif not (cell.hidden or is_marks_cell(cell)):
            waiting.append(cell)
    yield from ((_shown(each), frozenset()) for each in waiting)


def _by_places(
    cells: Sequence[Cell], sources: QuestionSources
) -> Iterator[tuple[WorkCell, frozenset[str]]]:
    given = [each for each in sources.cells if not each.students]
    ours = [plain_code(each.released) for each in given]
    pairs = Aligner(_MOST_COMPARED).align(ours, list(map(code_of, cells)))
    found = {cells[other].index: given[one].index for one, other in pairs}
    handed_out = {plain_code(text) for each in given for text in (each.own, each.released)}
    places: defaultdict[int, list[SourceCell]] = defaultdict(list)
    place, known = -1, set(found.values())
    for each in sources.cells:
        place = each.index if each.index in known else place
        if each.students:
            places[place].append(each)
    groups: defaultdict[int, list[Cell]] = defaultdict(list)
    place = -1
    for cell in cells:
        place = found.get(cell.index, place)
        if cell.index not in found and plain_code(cell.code) not in handed_out:
            groups[place].append(cell)
    for place, there in groups.items():
        group = _without_spare(there, len(places[place]))
        for cell, answered in zip(group, _answered(group, places[place]), strict=True):
            keys = (key for key, indexes in sources.questions if answered & set(indexes))
            yield _shown(cell), frozenset(keys)


def _without_spare(cells: Sequence[Cell], count: int) -> Sequence[Cell]:
    """Return the cells of a place without empty ones, as long as more than ``count`` are left."""
    spare, kept = len(cells) - count, []
    for cell in reversed(cells):
        if spare > 0 and not cell.code.strip():
            spare -= 1
        else:
            kept.append(cell)
    return kept[::-1]


def _answered(group: Sequence[Cell], wanted: Sequence[SourceCell]) -> Iterator[frozenset[int]]:
    """Yield, for each of a student's cells at one place, the cells of the source that it answers.

    Where the place has several, the cell's name and the names that it defines tell; else its order
    does, if there are as many.
    """
    every = frozenset(each.index for each in wanted)
    if len(wanted) < 2:
        yield from (every for _ in group)
        return
    defined = [(each.index, each.name, _defined(each.own)) for each in wanted]
    for number, cell in enumerate(group):
        names = _defined(cell.code)
        known = frozenset(
            index
            for index, name, theirs in defined
            if names & theirs or (name == cell.name and name not in _NAMELESS)
        )
        in_order = frozenset([wanted[number].index]) if len(group) == len(wanted) else every
        yield known or in_order


def _defined(code: str) -> frozenset[str]:
    try:
        return cell_names(code).defined
    except NotPython:
        return frozenset()
