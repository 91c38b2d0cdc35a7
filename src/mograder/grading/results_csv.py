"""The CSV of ``mograder autograde --csv``, with the columns of 0.3.16; pure.

See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from mograder.grading.result_row import Column, ResultRow

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render_csv(rows: Sequence[ResultRow], columns: Sequence[Column]) -> str:
    """Return a line for each submission: its student, a word for each label, and its marks.

    The column ``auto_mark`` is there if the assignment has marks, ``tampered`` if there is any.
    """
    marked = any(row.max_mark is not None for row in rows)
    tampered = any(row.tampered for row in rows)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    last = (["auto_mark"] if marked else []) + (["tampered"] if tampered else [])
    keys = (_text(column.key) for column in columns)
    writer.writerow(["notebook", *keys, "cell_errors", "export_error", *last])
    for row in rows:
        writer.writerow(_cells(row, columns, marked=marked, tampered=tampered))
    return out.getvalue()


def short_number(value: float | None) -> str:
    """Return a mark as 0.3.16 writes it: without a fraction of zero, empty for none."""
    return "" if value is None else f"{value:.10g}"


def _cells(
    row: ResultRow, columns: Sequence[Column], *, marked: bool, tampered: bool
) -> Iterator[str]:
    yield _text(row.student)
    yield from (row.word(column) for column in columns)
    yield str(row.cell_errors)
    yield _text(row.problem)
    if marked:
        yield short_number(row.auto_mark)
    if tampered:
        yield _text("; ".join(row.tampered))


def _text(text: str) -> str:
    """Return a text that a spreadsheet program does not take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
