"""A student's notebook as it ran, as an inert page: no script, no request to any host.

The notebook's text and its outputs are a stranger's. Text is escaped, markup sanitised
(:mod:`mograder.grading.pages.clean_markup`), images are data of known types. The page is readable
from a file, in a frame with an opaque origin, and under a policy that allows nothing else.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pygments.lexers.python import PythonLexer  # type: ignore[import-untyped]  # no stubs
from pygments.token import (  # type: ignore[import-untyped]
    Comment,
    Keyword,
    Name,
    Number,
    Operator,
    String,
)

from mograder.core.errors import InvalidInput
from mograder.grading.pages.clean_markup import PAGE_ELEMENTS, clean_markup
from mograder.grading.pages.marimo_elements import HeadingLevels, image_url, json_text
from mograder.grading.pages.page_templates import readable, render_page
from mograder.notebook.cells import Cell, parse_cells, statements_of
from mograder.notebook.grading.recording_cells import RecordingCells
from mograder.sandbox.execution.report import CellOutput, CellResult, CellStatus

AS_IT_RAN = "The notebook as it ran"
"""The heading of a page of the whole notebook."""

_LONGEST_CODE, _ALL_CODE = 40_000, 400_000
"""Characters of a cell, and of a notebook, whose code is coloured."""

_WIDE = re.compile(r"[^\S\n]{500}")
"""Blanks for which the lexer takes a time that grows with their square after ``match``."""

_LONGEST_TEXT = 200_000
_LONGEST_READ = 100_000
"""Characters of a notebook that is read for each look at a page, in a second at most if honest."""

_BEGIN, _END = "<!-- cells -->", "<!-- end of cells -->"
"""The marks around the cells of a page; nothing of a student's can be a comment of HTML."""

_OPENED = re.compile(r"<([a-zA-Z][^\s/>]*)")
_HANDLER = re.compile(r"<[^>]*\s(?:on\w+|style|srcdoc|formaction)\s*=", re.IGNORECASE)
_NAMELESS = frozenset(("", "_", "setup"))
_COLOURED = {
    Keyword: "k",
    Operator.Word: "k",
    String: "s",
    Comment: "c",
    Number: "m",
    Name.Function: "nf",
    Name.Class: "nf",
    Name.Decorator: "nd",
    Name.Builtin: "nb",
}
_ANY_FILE = "notebook.py"
_CUT = "The rest of this output was cut off, for it is too large."
_NO_TABLE = "The table of marks is not shown here: the checks ran apart from the notebook."
_TOO_LARGE = "An output is not shown here: it is too large."


@dataclass(frozen=True, slots=True)
class PageOutput:
    """One output: ``html`` is safe markup, ``text`` is plain, ``image`` is a checked data URL.

    ``note`` says what is not shown, or that the rest was cut off.
    """

    html: str = ""
    text: str = ""
    image: str = ""
    note: str = ""
    printed: bool = False


@dataclass(frozen=True, slots=True)
class PageCell:
    """One cell of the page; ``code`` is safe markup, empty where the output says it all.

    ``number`` counts from 1; ``line`` is the first line in the file. ``note`` says why the cell did
    not run, ``error`` and ``message`` with which exception it ended, in line ``error_line``.
    """

    number: int
    line: int
    name: str
    code: str
    folded: bool
    outputs: tuple[PageOutput, ...] = ()
    note: str = ""
    error: str = ""
    message: str = ""
    error_line: int | None = None


@dataclass(frozen=True, slots=True)
class NotebookView:
    """A notebook for a page; ``problem`` says why it has no cells, and ``text`` is shown then."""

    cells: tuple[PageCell, ...]
    problem: str = ""
    text: str = ""


def render_notebook_page(text: str, filename: str, cells: Sequence[CellResult]) -> str:
    """Return the page of a notebook's text and of the results of its cells.

    The page has nothing else: a notebook that ran without its hidden tests shows none.
    A text that is no notebook is shown as it is. Only the heading, which markers may not see, has
    ``filename``.
    """
    return _page(filename, view_notebook(text, _ANY_FILE, cells))


def render_text_page(text: str, filename: str, problem: str) -> str:
    """Return the page of a notebook whose cells cannot be shown, with the reason and its text."""
    return _page(filename, NotebookView((), problem, text[:_LONGEST_TEXT]))


def _page(filename: str, view: NotebookView) -> str:
    return render_page(
        "notebook.html.j2",
        filename=filename,
        heading=AS_IT_RAN,
        quiet=False,
        notebook=view,
        markup="",
    )


def cells_of_page(page: str) -> str:
    """Return the cells in a page of :func:`render_notebook_page`; "" if the page is another.

    Files of 0.3.16 have the same names. A page with an element that this module never writes is
    not one of its own.
    """
    _, begin, rest = page.partition(_BEGIN)
    cells, end, _ = rest.partition(_END)
    if not (begin and end):
        return ""
    # One by one: a call that finds all in megabytes would hold up the hub's other threads.
    names = {found[1].lower() for found in _OPENED.finditer(cells)}
    return cells if names <= PAGE_ELEMENTS and not _HANDLER.search(cells) else ""


def view_code(text: str, filename: str, *, without: Sequence[str] = ()) -> NotebookView:
    """Return what a page shows of a notebook of which only the code is known.

    Cells that contain one of the texts ``without`` are left out. A long notebook is not shown:
    reading it can take minutes, and the text as it is would have those cells.
    """
    if len(text) > _LONGEST_READ:
        return NotebookView((), "The notebook is too long to be shown here.")
    view = view_notebook(text, filename, (), noted=False)
    if view.problem:
        return view
    left_out = {
        cell.index + 1
        for cell in parse_cells(text, filename).cells
        if any(each in cell.code for each in without)
    }
    kept = (cell for cell in view.cells if cell.number not in left_out)
    return replace(view, cells=tuple(kept))


def view_notebook(
    text: str, filename: str, cells: Sequence[CellResult], *, noted: bool = True
) -> NotebookView:
    """Return a notebook with the results of its cells, and if ``noted`` why cells did not run."""
    try:
        notebook = parse_cells(text, filename)
    except InvalidInput as error:
        return NotebookView((), str(error), text[:_LONGEST_TEXT])
    recording = RecordingCells(notebook) if noted else None
    results = {result.index: result for result in cells}
    levels = HeadingLevels()
    left = _ALL_CODE
    shown = []
    for cell in notebook.cells:
        result = results.get(cell.index)
        note = "" if recording is None else _note(cell, result, recording)
        shown.append(_page_cell(cell, result, note, levels, coloured=left > 0))
        left -= len(cell.code)
    return NotebookView(tuple(shown))


def _page_cell(
    cell: Cell, result: CellResult | None, note: str, levels: HeadingLevels, *, coloured: bool
) -> PageCell:
    number = cell.index + 1
    outputs = () if result is None or _is_score_table(cell.code) else result.outputs
    shown = tuple(_output(output, levels, number) for output in outputs)
    failed = result is not None and result.status is CellStatus.ERROR
    # A cell that is one mo.md(...) is read where it is shown.
    prose = bool(shown) and not failed and _method_called(cell.code) == "md"
    return PageCell(
        number,
        cell.first,
        "" if cell.name in _NAMELESS else cell.name,
        "" if prose else _code(cell.code.strip("\n"), coloured=coloured),
        cell.hidden,
        shown,
        note,
        result.error_type if result is not None and failed else "",
        result.message if result is not None and failed else "",
        cell.line_of(result.line) if result is not None and failed and result.line else None,
    )


def _note(cell: Cell, result: CellResult | None, recording: RecordingCells) -> str:
    """Return why a cell did not run to its end; "" if it did, or ended with an exception."""
    if result is None or result.status is CellStatus.SKIPPED:
        if cell.disabled:
            return "This cell is disabled."
        if recording.records(cell.code) or cell.name.startswith("test_"):
            return "Checks run apart from the notebook: what came of this one is said there."
        reason = "" if result is None else result.message
        return f"This cell did not run: {reason}." if reason else "This cell did not run."
    if result.status is CellStatus.INTERRUPTED:
        return "The run ended while this cell was running."
    return _NO_TABLE if _is_score_table(cell.code) else ""


def _is_score_table(code: str) -> bool:
    """Whether a cell is one ``grader.scores()``, which knows no checks where they run apart."""
    return _method_called(code) == "scores"


def _method_called(code: str) -> str:
    """Return the name of the method whose call is all that a cell is; "" for any other cell."""
    match statements_of(code):
        case [ast.Expr(value=ast.Call(func=ast.Attribute(attr=name)))]:
            return name
    return ""


def _output(output: CellOutput, levels: HeadingLevels, number: int) -> PageOutput:
    kind, data = output.mimetype, output.data
    if not data:
        return PageOutput(note=_TOO_LARGE)
    cut = _CUT if output.cut else ""
    image = f"Image in the output of cell {number}"
    match kind:
        case "text/html" | "text/markdown":
            return PageOutput(html=clean_markup(data, levels, image), note=cut)
        case "text/plain" | "text/csv" | "text/latex":
            return PageOutput(text=data, note=cut, printed=output.printed)
        case "application/json":
            try:
                return PageOutput(text=json_text(json.loads(data)), note=cut)
            except (ValueError, RecursionError):
                return PageOutput(text=data, note=cut)
    if kind.startswith("image/"):
        url = image_url(data, kind)
        return PageOutput(image=url) if url else PageOutput(note=f"An image ({kind}) is not shown.")
    return PageOutput(note=f"An output of the type {kind} is not shown here.")


def _code(code: str, *, coloured: bool) -> str:
    """Return code as markup, its tokens coloured unless that would take long."""
    if not coloured or len(code) > _LONGEST_CODE or _WIDE.search(code):
        return html.escape(readable(code))
    return "".join(_tokens(readable(code)))


def _tokens(code: str) -> Iterable[str]:
    for kind, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens(code):
        # From the most general kind to the most special one.
        known = [_COLOURED[each] for each in kind.split() if each in _COLOURED]
        escaped = html.escape(text)
        yield f'<span class="{known[-1]}">{escaped}</span>' if known else escaped
