"""The CSV of ``mograder autograde --csv``, with the columns of 0.3.16; pure.

See compatibility-0.3.16.md 9. Its words are not escaped, since ``---`` is one of them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from mograder.core.csv_table import number_text, spreadsheet_text
from mograder.grading.results.result_row import Column, ResultRow


def render_csv(rows: Sequence[ResultRow], columns: Sequence[Column]) -> str:
    """Return a line for each submission: its student, a word for each label, and its marks.

    The column ``auto_mark`` is there if the assignment has marks, ``tampered`` if there is any.
    """
    marked = any(row.max_mark is not None for row in rows)
    tampered = any(row.tampered for row in rows)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    last = (["auto_mark"] if marked else []) + (["tampered"] if tampered else [])
    keys = (spreadsheet_text(column.key) for column in columns)
    writer.writerow(["notebook", *keys, "cell_errors", "export_error", *last])
    for row in rows:
        writer.writerow(_cells(row, columns, marked=marked, tampered=tampered))
    return out.getvalue()


def _cells(
    row: ResultRow, columns: Sequence[Column], *, marked: bool, tampered: bool
) -> Iterator[str]:
    yield spreadsheet_text(row.student)
    yield from (row.word(column) for column in columns)
    yield str(row.cell_errors)
    yield spreadsheet_text(row.problem)
    if marked:
        yield number_text(row.auto_mark)
    if tampered:
        yield spreadsheet_text("; ".join(row.tampered))
