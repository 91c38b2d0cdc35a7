"""Workbooks (XLSX, ECMA-376) with one sheet, written; pure.

A table of texts and numbers needs five small parts of XML, so there is no library for it. Every
text is an inline string, which no spreadsheet program takes for a formula.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape, quoteattr

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_KINDS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_LINKS = "http://schemas.openxmlformats.org/package/2006/relationships"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""The characters that XML 1.0 does not allow."""

_TITLE_REFUSED = re.compile(r"[\[\]:*?/\\']")
_LONGEST_TITLE = 31
_LONGEST_TEXT = 32_767
_WIDEST = 60
_FIRST = (1980, 1, 1, 0, 0, 0)


def write_workbook(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str | float | None]]
) -> bytes:
    """Return a workbook whose first row names the columns and stays in view; None is empty."""
    lines: list[Sequence[str | float | None]] = [columns, *rows]
    widths = [
        min(max(len(text) if isinstance(text, str) else 0 for text in column), _WIDEST)
        for column in zip(*lines, strict=True)
    ]
    sheet = "".join(_row(at, line) for at, line in enumerate(lines, start=1))
    shown = "".join(
        f'<col min="{at}" max="{at}" width="{width + 2}" customWidth="1"/>'
        for at, width in enumerate(widths, start=1)
    )
    name = quoteattr(_TITLE_REFUSED.sub(" ", title)[:_LONGEST_TITLE] or "Sheet1")
    parts = {
        "[Content_Types].xml": (
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels"'
            ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
            f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
            "</Types>"
        ),
        "_rels/.rels": _links("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": (
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_KINDS}"><sheets>'
            f'<sheet name={name} sheetId="1" r:id="rId1"/></sheets></workbook>'
        ),
        "xl/_rels/workbook.xml.rels": _links("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": (
            f'<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
            '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
            f"</sheetView></sheetViews><cols>{shown}</cols>"
            f"<sheetData>{sheet}</sheetData></worksheet>"
        ),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path, text in parts.items():
            packed.writestr(zipfile.ZipInfo(path, _FIRST), _HEAD + text, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _links(kind: str, target: str) -> str:
    link = f'<Relationship Id="rId1" Type="{_KINDS}/{kind}" Target="{target}"/>'
    return f'<Relationships xmlns="{_LINKS}">{link}</Relationships>'


def _row(number: int, cells: Sequence[str | float | None]) -> str:
    found = "".join(map(_cell, cells))
    return f'<row r="{number}">{found}</row>'


def _cell(value: str | float | None) -> str:
    if value is None or value == "":
        return "<c/>"
    if not isinstance(value, str):
        return f"<c><v>{value!r}</v></c>"
    text = escape(_REFUSED.sub("\N{REPLACEMENT CHARACTER}", value)[:_LONGEST_TEXT])
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
