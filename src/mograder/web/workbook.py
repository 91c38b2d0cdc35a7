"""Workbooks (XLSX, ECMA-376) with one sheet, from a template."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Sequence

from mograder.web.templating import load_pages

_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""The characters that XML 1.0 does not allow."""

_PARTS = (
    *("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"),
    *("xl/_rels/workbook.xml.rels", "xl/worksheets/sheet1.xml"),
)
_LONGEST_TEXT = 32_767
_WIDEST = 60
_FIRST = (1980, 1, 1, 0, 0, 0)
_Cell = str | float | None


def write_workbook(columns: Sequence[str], rows: Iterable[Sequence[_Cell]]) -> bytes:
    """Return a workbook whose first row names the columns and stays in view; None is empty.

    Every text is an inline string, which no spreadsheet program takes for a formula.
    """
    lines = [[_fit(cell) for cell in line] for line in (columns, *rows)]
    lengths = (
        [len(cell) for cell in column if isinstance(cell, str)]
        for column in zip(*lines, strict=True)
    )
    widths = [min(max(each, default=0), _WIDEST) + 2 for each in lengths]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for part in _PARTS:
            text = load_pages().render("workbook.xml", "", part=part, lines=lines, widths=widths)
            packed.writestr(zipfile.ZipInfo(part, _FIRST), text.strip(), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _fit(cell: _Cell) -> _Cell:
    if not isinstance(cell, str):
        return cell
    return _REFUSED.sub("\N{REPLACEMENT CHARACTER}", cell)[:_LONGEST_TEXT] or None
