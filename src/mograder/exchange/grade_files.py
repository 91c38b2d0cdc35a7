"""Grades as a CSV file has them, made ready for a server (B154).

The columns are sent as they are. 0.3.16's own `feedback --grades-csv` writes ``student`` and
``mark`` where its server merges by ``username`` and shows ``grade``; so those are named anew.
"""

from __future__ import annotations

import csv
from pathlib import Path

from mograder.core.errors import InvalidInput, TooLarge
from mograder.transports.https import GradeRow

_LARGEST = 20_000_000
_MOST_ROWS = 100_000
_OTHER_NAMES = {
    "username": ("student", "user"),
    "grade": ("penalised_mark", "mark"),
}
"""Our column → where its value comes from when it is absent, the best first."""


def read_grades(file: Path) -> tuple[GradeRow, ...]:
    """Return the rows of a CSV file with a header; blank rows are left out.

    Raises:
        InvalidInput: It cannot be read, has no column with people's names, or names nobody in a
            row; the message says which line. :class:`TooLarge` beyond 20 MB.
    """
    rows: list[GradeRow] = []
    try:
        if file.stat().st_size > _LARGEST:
            raise TooLarge(f"{file} is larger than {_LARGEST // 10**6} MB.")
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True, restkey="")
            _check_header(reader.fieldnames or (), file)
            for row in reader:
                _add(row, rows, f"{file}:{reader.line_num}")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read as UTF-8 text.") from error
    except csv.Error as error:
        raise InvalidInput(f"{file} is no CSV file: {error}.") from error
    return tuple(rows)


def _add(row: dict[str, str], rows: list[GradeRow], place: str) -> None:
    values = {name.strip(): (text or "").strip() for name, text in row.items() if name}
    if not any(values.values()):
        return
    if "" in row:
        raise InvalidInput(f"{place}: the row has more values than the header has columns.")
    for name, others in _OTHER_NAMES.items():
        if not values.get(name):
            found = next((values[each] for each in others if values.get(each)), "")
            values |= {name: found} if found else {}
    found_row = GradeRow(values)
    if not found_row.who:
        raise InvalidInput(f"{place}: the row names nobody.", hint="Fill in its username.")
    rows.append(found_row)
    if len(rows) > _MOST_ROWS:
        raise TooLarge(f"{place}: the file has more than {_MOST_ROWS} rows.")


def _check_header(names: object, file: Path) -> None:
    columns = [str(name).strip() for name in names] if isinstance(names, list) else []
    if not {"username", "userid", *_OTHER_NAMES["username"]} & set(columns):
        raise InvalidInput(
            f"{file} has no column 'username': {', '.join(columns) or 'it is empty'}.",
            hint="Its first line must name the columns, such as username,grade,feedback.",
        )
