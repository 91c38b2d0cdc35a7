"""A submission as a marker sees it: its files as they were graded, and the cells of each question.

The files are those of the grading (``autograded/<assignment>/``), so that people mark the work that
was graded. Their content is a student's; only a page that this program wrote is shown.

A submission's cells are compared with those of the release: cells that are as they were handed out
are the teacher's, all others the student's. One of these belongs to the question at whose place
between the teacher's cells it stands, so that a cell that a student added is found, too.
"""

from __future__ import annotations

import ast
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property, partial
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError, NotFound, TooLarge
from mograder.core.name_lookup import nfc
from mograder.core.names import FileName
from mograder.grading.marking.question_sources import QuestionSources, SourceCell
from mograder.grading.pages.notebook_page import AS_IT_RAN, cells_of_page
from mograder.grading.pages.page_templates import render_page
from mograder.grading.submissions.submitted_text import decode_submission, read_submission
from mograder.notebook.cells import Cell, parse_cells, parse_python
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
from mograder.store.filesystem.files import entry_named
from mograder.store.gradebook.grading_records import WHOLE
from mograder.store.submissions.submitted_files import SubmittedFile, submitted_files

_MOST_COMPARED = 250_000
"""Pairs of cells to compare: a student chooses the number of cells."""

_KEPT = 1000
_KEPT_CHARACTERS = 20_000_000
"""Submissions, and their characters, of which the cells are kept in memory."""

_NAMELESS = frozenset(("", "_", "setup"))
"""Names of cells that tell nothing."""

_OUR_HEAD, _HEAD_BYTES = b'<meta http-equiv="Content-Security-Policy"', 300
"""The beginning of the pages that grading writes (``grading.pages.notebook_page``)."""

_MOST_BYTES = 64_000_000
_SUBMISSION = "The submission"
"""The name of a submission in messages to people from whom the student's name may be hidden."""


class WorkFiles:
    """The graded and the submitted files of an assignment, for one pass over its students.

    The directory of submissions is read once, when it is first needed: a reading for each student
    took half a minute for 500. ``autograded`` and ``submitted`` are the assignment's directories.

    The texts' methods raise :class:`NotFound` when a student has neither file, and
    :class:`InvalidInput` for a file that cannot be read, or is no text; the message does not tell
    the file's name, which is the student's.
    """

    def __init__(self, autograded: Path, submitted: Path) -> None:
        self._autograded = autograded
        self._submitted = submitted

    def students(self) -> tuple[str, ...]:
        """Return the students with a submitted file or a graded copy, sorted."""
        graded = self._autograded.glob("*.py") if self._autograded.is_dir() else ()
        found = {path.stem for path in graded if not path.name.startswith(".")}
        return tuple(sorted(found | self._sent.keys()))

    def graded_first(self, student: str) -> str:
        """Return the text of a student's graded submission, else of the submitted file."""
        return self._text(student, self._graded, self._handed_in)

    def handed_in_first(self, student: str) -> str:
        """Return the text of the file that a student submitted, else of the graded copy.

        That copy has cells of graders, too.
        """
        return self._text(student, self._handed_in, self._graded)

    def has_handed_in(self, student: str) -> bool:
        """Return whether there is the file that a student submitted, or else only a graded copy."""
        file = self._sent.get(nfc(student))
        return file is not None and file.path.is_file()

    @cached_property
    def _sent(self) -> Mapping[str, SubmittedFile]:
        sent = submitted_files(self._submitted) if self._submitted.is_dir() else ()
        return {each.student: each for each in sent}

    def _graded(self, student: str) -> bytes | None:
        path = entry_named(self._autograded, _file_name(student, ".py"))
        return path.read_bytes() if path.is_file() else None

    def _handed_in(self, student: str) -> bytes | None:
        file = self._sent.get(nfc(student))
        return _submission(file) if file is not None and file.path.is_file() else None

    @staticmethod
    def _text(student: str, *places: Callable[[str], bytes | None]) -> str:
        for read in places:
            data = read(student)
            if data is not None:
                return decode_submission(data, _SUBMISSION)
        raise NotFound("There is no file of this submission.", hint="Grade it again.")


def graded_page(autograded: Path, student: str) -> bytes:
    """Return the page of the notebook as it ran; it names the student's file.

    Raises:
        NotFound: There is none, or an earlier mograder made it, whose pages are programs.
    """
    try:
        with entry_named(autograded, _file_name(student, ".html")).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise NotFound("There is no such result.") from error
    if _OUR_HEAD not in data[:_HEAD_BYTES] or len(data) > _MOST_BYTES:
        raise NotFound("This result was made by an earlier mograder.", hint="Grade it again.")
    return data


def nameless_page(autograded: Path, student: str) -> bytes:
    """Return the page of :func:`graded_page` without the name of the file.

    Raises:
        NotFound: As :func:`graded_page`.
    """
    cells = cells_of_page(graded_page(autograded, student).decode("utf-8", "replace"))
    if not cells:
        raise NotFound("This result cannot be shown.", hint="Grade it again.")
    page = render_page(
        "notebook.html.j2",
        filename="Notebook",
        heading=AS_IT_RAN,
        quiet=False,
        markup=cells,
        notebook=None,
    )
    return page.encode("utf-8", "replace")


def has_page(autograded: Path, student: str) -> bool:
    """Return whether there is a page of the notebook as it ran that :func:`graded_page` returns."""
    try:
        with entry_named(autograded, _file_name(student, ".html")).open("rb") as file:
            return _OUR_HEAD in file.read(_HEAD_BYTES)
    except (MograderError, OSError):
        return False


def _submission(file: SubmittedFile) -> bytes:
    if file.problem:
        raise InvalidInput("The submission is no regular file that can be read.")
    try:
        return read_submission(file.path)
    except InvalidInput as error:
        raise InvalidInput("The submission is no regular file that can be read.") from error
    except TooLarge as error:
        raise TooLarge("The submission is larger than a notebook may be.") from error


def _file_name(student: str, suffix: str) -> str:
    name = FileName.valid(f"{student}{suffix}")
    if name is None or name.startswith("."):
        raise NotFound("There is no such result.")
    return name


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
    """A submission's text and its assignment's source."""

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
    own = tuple(cell for cell in cells if not _is_graders(cell))
    if not work.sources.cells:
        return ShownWork(tuple(_by_checks(own)))
    return ShownWork(tuple(_by_places(own, work.sources)))


def solution_cells(sources: QuestionSources, question: str) -> tuple[WorkCell, ...]:
    """Return the author's cells of a question, without the marks around solutions."""
    chosen = set(sources.of(question))
    return tuple(
        _work_cell(each.index, each.name, each.solution, each.line)
        for each in sources.cells
        if each.index in chosen
    )


def _is_graders(cell: Cell) -> bool:
    marks = (SUBMIT, *GRADERS_CELLS)
    return any(line.strip() in marks for line in cell.code.split("\n"))


def _shown(cell: Cell) -> WorkCell:
    return _work_cell(cell.index, cell.name, cell.code, cell.code_first)


def _work_cell(index: int, name: str, code: str, line: int) -> WorkCell:
    shown = "" if name in _NAMELESS else name
    return WorkCell(index, shown, code.strip("\n"), line, written_text(name, code))


def written_text(name: str, code: str) -> str:
    """Return the Markdown of a written answer, or of a cell with nothing but ``mo.md``; else ""."""
    if not is_answer_name(name) and "md" not in code:
        return ""  # parsing takes milliseconds, and a class has thousands of cells
    tree = parse_python(code)
    if tree is None or not (is_answer_name(name) or _is_prose(tree)):
        return ""
    texts = [
        each.value
        for each in ast.walk(tree)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]
    if not texts:
        return ""
    return textwrap.dedent(max(texts, key=len)).strip()


def _is_prose(tree: ast.Module) -> bool:
    match tree.body:
        case [ast.Expr(value=ast.Call(func=ast.Attribute(attr="md"), args=[ast.Constant()]))]:
            return True
    return False


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
    found = _matched(given, cells)
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


def _matched(given: Sequence[SourceCell], cells: Sequence[Cell]) -> dict[int, int]:
    """Return the index of the teacher's cell for each cell that is one, in the same order."""
    if len(given) * len(cells) > _MOST_COMPARED:
        return {}
    ours = [plain_code(each.released) for each in given]
    theirs = [plain_code(cell.code) for cell in cells]
    blocks = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    return {
        cells[theirs_at + step].index: given[ours_at + step].index
        for ours_at, theirs_at, size in blocks
        for step in range(size)
    }


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
