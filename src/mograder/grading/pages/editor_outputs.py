"""Some cells of a notebook with what the editor shows below them, as an inert page.

marimo's export of an open notebook holds its outputs. The student's code can write anything there:
it is read with limits, and shown as outputs of a run are
(:mod:`mograder.grading.pages.notebook_page`). An output belongs to a cell by the hash of the code
that ran, so a cell that was edited since has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace

from pydantic import BaseModel

from mograder.core.errors import InvalidInput
from mograder.grading.pages.notebook_page import NotebookView, view_notebook
from mograder.grading.pages.page_templates import render_page
from mograder.notebook.cells import Cell, parse_cells
from mograder.notebook.points import cell_labels
from mograder.sandbox.execution.report import CellOutput, CellResult, CellStatus

_MOST_CELLS, _MOST_OUTPUTS, _LONGEST, _LARGEST_IMAGE = 2000, 50, 200_000, 4_000_000
_LONGEST_NAME, _LONGEST_MESSAGE = 200, 5000
_LARGEST_PAGE = 10_000_000
"""A hub reads a page while everybody waits: 40 MB took 0.15 s."""
_BUNDLE = "application/vnd.marimo+mimebundle"
_TRACEBACK = "application/vnd.marimo+traceback"
_FORMATS = (
    *("image/png", "image/svg+xml", "image/jpeg"),
    *("text/html", "text/markdown", "text/plain"),
)
"""Of a value in several formats, the first of these is shown."""

_BEGINS = '"session": '
_NONE = "The editor shows no output of this cell as it is now."


class _Output(BaseModel):
    type: str
    data: dict[str, object] = {}
    ename: str = ""
    evalue: str = ""


class _Printed(BaseModel):
    name: str = ""
    text: str = ""
    data: str = ""
    mimetype: str | None = None


class _Ran(BaseModel):
    code_hash: str | None = None
    outputs: list[_Output] = []
    console: list[_Printed] = []


class _Session(BaseModel):
    cells: list[_Ran]


def render_editor_outputs(
    text: str, filename: str, exported: bytes, indexes: Set[int], check: str
) -> str:
    """Return a page of the cells with these indexes and those with a check, by its label.

    ``exported`` is marimo's export as HTML, or b"".

    Raises: InvalidInput for a page of more than 10 MB.
    """
    found = view_notebook(text, filename, (), noted=False)
    if not found.problem:
        cells = parse_cells(text, filename).cells
        wanted = {c.index for c in cells if c.index in indexes or check in cell_labels(c)}
        _, _, rest = exported.decode("utf-8", "replace").partition(_BEGINS)
        ran: dict[str | None, _Ran] = {}
        try:  # the page may be no export of marimo
            session = _Session.model_validate(json.JSONDecoder().raw_decode(rest)[0])
            ran = {each.code_hash: each for each in session.cells[:_MOST_CELLS]}
        except (ValueError, RecursionError):
            pass
        results = tuple(_result(cell, ran) for cell in cells if cell.index in wanted)
        shown = view_notebook(text, filename, [each for each in results if each]).cells
        kept = [each for each in shown if each.number - 1 in wanted]
        found = NotebookView(
            tuple(replace(each, note=_NONE) if each.note else each for each in kept)
        )
    page = render_page(
        "notebook.html.j2",
        filename=filename,
        heading="In the editor",
        quiet=True,
        notebook=found,
        markup="",
    )
    if len(page) > _LARGEST_PAGE:
        raise InvalidInput("These outputs are too large to be shown here.")
    return page


def _result(cell: Cell, ran: dict[str | None, _Ran]) -> CellResult | None:
    """Return what a cell showed when it last ran with its present code, None if that is unknown."""
    code = cell.code.encode("utf-8", "surrogatepass")
    each = ran.get(hashlib.md5(code, usedforsecurity=False).hexdigest())
    if each is None:
        return None
    errors = [output for output in each.outputs if output.type == "error"]
    outputs = (*_values(each.outputs), *_texts(each.console))[:_MOST_OUTPUTS]
    if not errors:
        return CellResult(cell.index, "", CellStatus.OK, outputs=outputs)
    kind = errors[0].ename.replace("-", " ").capitalize()[:_LONGEST_NAME]
    said = errors[0].evalue[:_LONGEST_MESSAGE]
    return CellResult(cell.index, "", CellStatus.ERROR, kind or "Error", said, outputs=outputs)


def _values(outputs: Iterable[_Output]) -> Iterator[CellOutput]:
    for output in outputs:
        for kind, value in output.data.items():
            if value not in ("", None):
                yield _value(kind, value)


def _value(kind: str, value: object) -> CellOutput:
    if kind == _BUNDLE:
        formats = _formats(value)
        kind = next((each for each in _FORMATS if each in formats), kind)
        value = formats.get(kind, "")
    data = value if isinstance(value, str) else json.dumps(value)
    return _bounded(kind, data)


def _formats(value: object) -> dict[str, object]:
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _texts(console: Iterable[_Printed]) -> Iterator[CellOutput]:
    """Yield what was printed; texts that follow each other are one."""
    text = ""
    for each in console:
        is_text = not each.data and each.mimetype in (None, "text/plain")
        if is_text:
            text += each.text
            continue
        if text:
            yield _bounded("text/plain", text, printed=True)
            text = ""
        if each.mimetype == _TRACEBACK:
            yield _bounded("text/html", each.text, printed=True)
        elif each.data and each.mimetype:
            yield _bounded(each.mimetype, each.data, printed=True)
    if text:
        yield _bounded("text/plain", text, printed=True)


def _bounded(kind: str, data: str, *, printed: bool = False) -> CellOutput:
    """Return an output; half an image cannot be shown, so one that is too large is left out."""
    if kind.startswith("image/"):
        return CellOutput(kind, data if len(data) <= _LARGEST_IMAGE else "", printed)
    return CellOutput(kind, data[:_LONGEST], printed, len(data) > _LONGEST)
