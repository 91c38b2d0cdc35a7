"""CSV files, read and written; pure.

Those that people wrote have commas, semicolons or tabs, and UTF-8 with or without a BOM. Ours are
safe in a spreadsheet: a text that it would take for a formula begins with an apostrophe, which
reading removes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mograder.core.errors import InvalidInput, TooLarge

_HINT = "Look whether letters such as ü and é are right in it, then save it as CSV UTF-8."
_MOST_ROWS = 100_000
_SHOWN = 20
_MARK = "\ufeff"
_FORMULA = ("=", "+", "-", "@", "\t", "\n")
_TEXT = "'"
_LATER_FORMULA = re.compile(r"([;\t] *)(?=[=+\-@][^;\t]*[\w.][(|])")
"""A formula with a call or a link (DDE) after a semicolon or a tab: where lists are separated by
these, as in most of Europe, a spreadsheet program begins a cell there."""
_LATER_TEXT = re.compile(rf"([;\t] *){_TEXT}(?=[=+\-@])")


@dataclass(frozen=True, slots=True)
class Row:
    """One row that is not blank: the number of its first line in the file, and its cells."""

    line: int
    cells: tuple[str, ...]

    def cell(self, column: int | None) -> str:
        """Return a cell without surrounding spaces; empty beyond the end of the row."""
        return self.cells[column] if column is not None and column < len(self.cells) else ""


@dataclass(frozen=True, slots=True)
class Table:
    """The columns named in the first line, and the rows below."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def column(self, *names: str) -> int | None:
        """Return the index of the first of these columns that the file has, in any case."""
        return next(iter(self.columns_of(*names)), None)

    def columns_of(self, *names: str) -> tuple[int, ...]:
        """Return the indexes of those of these columns that the file has, in the order given."""
        known = [column.lower() for column in self.columns]
        return tuple(known.index(name) for name in names if name in known)


def read_table(data: bytes, name: str) -> Table:
    """Read a CSV file whose first line names its columns; ``name`` is its name in messages.

    The delimiter is taken from the first line. Blank rows are left out, and lines in a cell end as
    in ours: an editor of Windows changes all in the file.
    """
    try:
        text = _with_our_line_ends(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text.", hint=_HINT) from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    line = 1
    try:
        for cells in reader:
            rows.append(Row(line, tuple(map(_read_cell, cells))))
            line = reader.line_num + 1
            if len(rows) > _MOST_ROWS:
                raise TooLarge(f"{name} has more than {_MOST_ROWS} rows.")
    except csv.Error as error:
        raise InvalidInput(f"{name}, line {line}: this is no CSV file: {error}.") from error
    columns = rows[0].cells if rows else ()
    filled = tuple(row for row in rows[1:] if any(row.cells))
    for row in filled:
        if any(row.cells[len(columns) :]):
            raise InvalidInput(
                f"{name}, line {row.line}: the row has more values than the header has columns.",
                hint="Put quotes around a value that holds the delimiter.",
            )
    return Table(columns, filled)


def refuse(text: str, problems: Sequence[str], hint: str = "") -> None:
    """Raise InvalidInput if there are problems; the first twenty follow the text."""
    if problems:
        left = len(problems) - _SHOWN
        more = [f"and {left} more"] if left > 0 else []
        raise InvalidInput("\n  ".join([text, *problems[:_SHOWN], *more]), hint=hint)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """Return a CSV file; None is an empty cell, and a number is written without a useless zero."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_cell(each) for each in columns])
    writer.writerows([_cell(each) for each in row] for row in rows)
    return file.getvalue()


def for_spreadsheets(table: str) -> str:
    """Return a CSV file with a byte order mark, without which Excel reads "Ã¼" for "ü"."""
    return _MARK + table


def number_text(value: float | None, places: int = 5) -> str:
    """Return a mark with at most ``places`` (1 or more) decimals: 72.5, 70; empty for None."""
    if value is None:
        return ""
    text = f"{value:.{places}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def spreadsheet_text(text: str) -> str:
    """Return a cell's text that a spreadsheet program does not take for a formula."""
    # The csv module does not quote a carriage return, at which a reader would end the row.
    text = _with_our_line_ends(text)
    text = _LATER_FORMULA.sub(rf"\1{_TEXT}", text)
    return _TEXT + text if text.startswith(_FORMULA) else text


def _with_our_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _cell(value: str | float | None) -> str:
    return spreadsheet_text(value) if isinstance(value, str) else number_text(value)


def text_read_back(text: str) -> str:
    return _read_cell(spreadsheet_text(text))


def _read_cell(cell: str) -> str:
    cell = _LATER_TEXT.sub(r"\1", cell.strip())
    return cell[1:] if cell.startswith(tuple(_TEXT + each for each in _FORMULA)) else cell
