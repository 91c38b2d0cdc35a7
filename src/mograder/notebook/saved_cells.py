"""A notebook's text from the cells that marimo's page sends when it saves.

It is for work that the page could not save. The student's browser hands it in, so nothing in it is
believed: types and sizes are checked, and marimo's own code generation writes the text. The page
adds ``base``, the codes that were saved last as far as it knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from secrets import token_hex

from marimo._ast.app_config import _AppConfig
from marimo._ast.cell import CellConfig
from marimo._ast.codegen import generate_filecontents, generate_unparsable_cell

from mograder.core.errors import InvalidInput, TooLarge
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.cells import with_spaces
from mograder.notebook.parsing import MARIMO_FAILS, parse_marimo, quiet_parser
from mograder.notebook.points import plain_code
from mograder.notebook.version_diff import lines_changed

_MOST_CELLS = 5000
_OPTIONS = {"column": int, "disabled": bool, "hide_code": bool, "expand_output": bool}
_COMMENTS = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_NOT_SAVED = "This is not what marimo's page saves."


@dataclass(frozen=True, slots=True)
class SavedCells:
    """The cells of a save; ``present`` is the copy's text, from which come header and options."""

    body: str
    present: str
    filename: str

    @property
    def size(self) -> int:
        """The number of characters to read."""
        return len(self.body) + len(self.present)


@dataclass(frozen=True, slots=True)
class _Cell:
    code: str
    name: str
    config: CellConfig


Frame = tuple[str, Mapping[str, object]]
"""The comments before a notebook's code, and the options of its app."""


@dataclass(frozen=True, slots=True)
class WrittenCells:
    """The notebook's text from a save.

    ``follows`` is whether the present text has the cells that the page had changed, ``lines`` is
    the number of lines that it lacks: 0 if there is nothing to put back.
    """

    text: str
    follows: bool
    lines: int


def write_saved_cells(saved: SavedCells) -> WrittenCells:
    """Return the text that marimo would have saved, and what it has to do with the present one.

    Raises:
        InvalidInput: The body is not that of a save, or marimo cannot write its cells.
        TooLarge: The notebook would be larger than one may be.
    """
    read = _read(saved.body)
    text = _text_of(read, saved)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_NOTEBOOK:
        raise TooLarge(f"A notebook may have at most {MAX_NOTEBOOK // 1_000_000} MB.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("The cells hold characters that are no text.") from error
    present, base = None, read.get("base")
    with suppress(InvalidInput):  # of a broken text
        cells = parse_marimo(saved.present, saved.filename).cells
        present = _plain([cell.code for cell in cells])
    follows = present is not None and isinstance(base, list) and _plain(base) == present
    if _without_version(text) == _without_version(saved.present):
        return WrittenCells(text, follows, 0)
    codes = _plain(_list(read, "codes"))
    added, removed = lines_changed("\n".join(present or []), "\n".join(codes))
    # Cells were moved, named or set if no line was changed.
    return WrittenCells(text, follows, max(added, removed, 1) if follows else added)


def _read(body: str) -> Mapping[str, object]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(_NOT_SAVED) from error
    if not isinstance(read, dict):
        raise InvalidInput(_NOT_SAVED)
    return read


def _text_of(read: Mapping[str, object], saved: SavedCells) -> str:
    codes, names, configs = (_list(read, key) for key in ("codes", "names", "configs"))
    if not len(codes) == len(names) == len(configs) or len(codes) > _MOST_CELLS:
        raise InvalidInput(_NOT_SAVED)
    cells = []
    for code, name, config in zip(codes, map(_text, names), configs, strict=True):
        own = name if name.isidentifier() and name != "__" else "_"  # marimo writes no other
        cells.append(_Cell(_text(code), own, CellConfig.from_dict(_options(config))))
    frame = _frame(saved.present, saved.filename)
    with quiet_parser():
        text = _generate(cells, frame) or _generate_around_failures(cells, frame)
    if text is None:
        raise InvalidInput(f"{saved.filename}:1: marimo cannot write it.")
    return text


def _frame(present: str, filename: str) -> Frame:
    """Return the comments before the present text's code, and the options of its app.

    The page does not know them. Of a text that cannot be parsed, only its first comments are known.
    """
    try:
        parsed = parse_marimo(present, filename)
    except InvalidInput:
        found = _COMMENTS.match(present)
        return found[0] if found else "", {}
    options = parsed.app.options if parsed.app else {}
    # marimo writes texts between `"` without escaping those in them.
    texts = {key: text.replace('"', "'") for key, text in options.items() if isinstance(text, str)}
    return parsed.header.value if parsed.header else "", options | texts


def _generate_around_failures(cells: Sequence[_Cell], frame: Frame) -> str | None:
    """Return marimo's text; cells that marimo cannot compile are as those of invalid syntax.

    marimo writes a cell of invalid syntax as a string, and fails for one that it cannot compile,
    for example a sum of some hundred terms.
    """
    written = [
        cell if _generate([cell], frame) else replace(cell, code=f"({token_hex(16)}")
        for cell in cells
    ]
    text = _generate(written, frame)
    for cell, other in zip(cells, written, strict=True):
        if text is not None and cell is not other:
            made, wanted = (
                generate_unparsable_cell(e.code, e.name, e.config) for e in (other, cell)
            )
            text = text.replace(made, wanted, 1)
            text = None if other.code in text else text  # written in a form that is not known
    return text


def _generate(cells: Sequence[_Cell], frame: Frame) -> str | None:
    """Return marimo's text of cells, None if marimo fails to write it."""
    header, options = frame
    try:
        return generate_filecontents(
            codes=[cell.code for cell in cells],
            names=[cell.name for cell in cells],
            cell_configs=[cell.config for cell in cells],
            config=_AppConfig.from_untrusted_dict(dict(options), silent=True),
            header_comments=header or None,
        )
    except MARIMO_FAILS:
        return None


def _plain(codes: Sequence[object]) -> list[str]:
    """Return codes in the form in which cells are compared.

    marimo's page keeps and sends what was typed, which marimo writes in another form.
    """
    return [plain_code(with_spaces(_text(code))) for code in codes]


def _without_version(text: str) -> str:
    """Return a notebook's text without the version of marimo that wrote it, which is no work."""
    return re.sub(r"^__generated_with.*\n", "", text, flags=re.MULTILINE)


def _list(read: Mapping[str, object], key: str) -> list[object]:
    found = read.get(key)
    if not isinstance(found, list):
        raise InvalidInput(_NOT_SAVED)
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(_NOT_SAVED)
    # Python reads no text with null characters, and no file holds half a surrogate pair.
    return _NO_TEXT.sub("\ufffd", value)


def _options(config: object) -> dict[str, object]:
    found = config if isinstance(config, dict) else {}
    return {key: found[key] for key, kind in _OPTIONS.items() if type(found.get(key)) is kind}
