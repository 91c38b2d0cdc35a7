"""From an author's source to what students get: solutions and hidden tests are gone.

Every rule is 0.3.16's (compat.md 7), so that a course's old sources give the notebooks that its
students know. Text in, text out; equal text in, equal text out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import (
    Cell,
    LineEdit,
    NotebookText,
    indent_of,
    parse_cells,
    replace_lines,
    split_lines,
)
from mograder.notebook.findings import refuse
from mograder.notebook.hashes import TO_DO, cell_hashes
from mograder.notebook.header import set_keys
from mograder.notebook.leftovers import left_over
from mograder.notebook.markers import Block, BlockKind, find_blocks
from mograder.notebook.scopes import missing_names

HIDDEN = "# HIDDEN TESTS"
_PLACEHOLDER = re.compile(r"response_text = (?P<literal>.+)")


@dataclass(frozen=True, slots=True)
class ReleaseText:
    """A released notebook. ``secrets`` are the lines, without indent, that were taken out."""

    text: str
    has_hidden_tests: bool
    solution_blocks: int
    cell_hashes: tuple[str, ...]
    secrets: tuple[str, ...]


def make_release(text: str, *, filename: str, assignment: str) -> ReleaseText | None:
    """Return what students get of a source; None when it has no solution to take out.

    Raises:
        InvalidInput: Marks are wrong, what is left is no notebook, or a solution is still in it;
            one line ``file:line: message`` for each mistake.
    """
    blocks = find_blocks(text, filename)
    solutions = [block for block in blocks if block.kind is BlockKind.SOLUTION]
    if not solutions:
        return None
    stripped = _strip(text, filename, blocks)
    released = _parse_stripped(stripped, filename)
    stripped = _with_written_answers(released)
    released = parse_cells(stripped, filename)
    hidden = any(block.kind is BlockKind.HIDDEN for block in blocks)
    hashes = cell_hashes(released.cells)
    keys: dict[str, str | bool] = {"mograder-assignment": assignment}
    if hidden:
        keys["mograder-hidden-tests"] = True
    keys["mograder-cell-hashes"] = ",".join(hashes)
    secrets = _secrets(text, blocks)
    refuse(left_over(text, blocks, secrets, filename))
    return ReleaseText(set_keys(stripped, keys), hidden, len(solutions), hashes, secrets)


def _strip(text: str, filename: str, blocks: Sequence[Block]) -> str:
    lines = split_lines(text)
    plain = "".join(line.rstrip("\r\n") + "\n" for line in lines).removeprefix("\ufeff")
    tree = ast.parse(plain, filename=filename)
    edits = []
    for block in blocks:
        indent = indent_of(lines[block.begin - 1])
        new = [HIDDEN]
        if block.kind is BlockKind.SOLUTION:
            sentinels = missing_names(tree, block.begin, block.end).names
            new = [*(f"{name} = ..." for name in sentinels), TO_DO, "pass"]
        edits.append(LineEdit(block.begin, block.end, tuple(f"{indent}{line}" for line in new)))
    return replace_lines(lines, edits)


def _parse_stripped(text: str, filename: str) -> NotebookText:
    try:
        return parse_cells(text, filename)
    except InvalidInput as error:
        raise InvalidInput(
            f"{filename}: without its solutions and hidden tests this is no Python any more "
            f"({error.message})",
            hint="Let no block be all that an `if`, a loop or a function holds, and let each "
            "begin and end with whole statements.",
        ) from error


def _with_written_answers(notebook: NotebookText) -> str:
    """Turn the four lines of a written answer into the Markdown that a student edits."""
    edits: list[LineEdit] = []
    for cell in notebook.cells:
        edits += _written_answer(cell, notebook.lines)
    return replace_lines(notebook.lines, edits)


def _written_answer(cell: Cell, lines: Sequence[str]) -> Iterator[LineEdit]:
    for first in range(cell.body_first, cell.body_last - 2):
        stripped = [line.strip() for line in lines[first - 1 : first + 3]]
        found = _PLACEHOLDER.fullmatch(stripped[0])
        if found is None or stripped[1:] != [TO_DO, "pass", "mo.md(response_text)"]:
            continue
        placeholder = _literal(found["literal"])
        if placeholder is None:
            continue
        indent = indent_of(lines[first - 1])
        content = [f"{indent}{line}".rstrip() for line in placeholder.split("\n")]
        yield LineEdit(first, first + 3, (f'{indent}mo.md(r"""', *content, f'{indent}""")'))
        yield from _without_response(cell, lines)
        return


def _literal(source: str) -> str | None:
    """Return a string that can stand between raw triple quotes as it is."""
    try:
        value = ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None
    awkward = not isinstance(value, str) or '"""' in value or value.endswith(("\\", '"'))
    return None if awkward else value


def _without_response(cell: Cell, lines: Sequence[str]) -> Iterator[LineEdit]:
    """Drop ``response_text`` from the cell's return."""
    if "response_text" not in cell.returns:
        return
    names = [name for name in cell.returns if name != "response_text"]
    indent = indent_of(lines[cell.return_first - 1])
    value = f"({names[0]},)" if len(names) == 1 else ", ".join(names)
    yield LineEdit(cell.return_first, cell.last, (f"{indent}return {value}".rstrip(),))


def _secrets(text: str, blocks: Sequence[Block]) -> tuple[str, ...]:
    """Return the lines of the solutions; a hidden test may well repeat a visible one."""
    lines = split_lines(text)
    solutions = (block for block in blocks if block.kind is BlockKind.SOLUTION)
    inside = (line.strip() for b in solutions for line in lines[b.begin : b.end - 1])
    return tuple(dict.fromkeys(line for line in inside if line and not line.startswith("#")))
