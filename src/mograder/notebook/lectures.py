"""From a lecture's source to what the hub runs (B70, compat.md 7).

Links between notebooks become links between pages of the hub. They are relative, because a hub
may live below a path prefix that no author knows: a lecture's page is at
``{prefix}/run/user/<user>/<lecture>/``, so four steps up is the hub itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator

from mograder.notebook.cells import LineEdit, parse_cells, replace_lines, split_lines
from mograder.notebook.findings import Finding, refuse
from mograder.notebook.header import check_header, ensure_kind
from mograder.notebook.markers import find_blocks
from mograder.notebook.oversights import without_mark
from mograder.notebook.references import app_call, named_by

_LINK = re.compile(
    r"""(?P<before>\]\([ ]?<?|\]:[ ]<?|\bhref=\\?["'])(?:\.\./|\./)?"""
    r"""(?P<name>[^/()<>\s"'\\]+)/(?P=name)\.py(?P<rest>[#?][^)>\s"'\\]*)?(?=[)>\s"'\\]|\Z)"""
)
"""The address in ``[text](…)``, ``[text]: …`` and ``href="…"``."""
_UP = "../../../../"
_MARK = "\ufeff"
_NO_BLOCKS = "It would be published. Make an assignment of it, or remove the block."
_LAYOUT = ("layout_file", "html_head_file")
"""Options that name files beside the source, which are not always published with it."""


def to_lecture(
    text: str,
    *,
    filename: str,
    mode_of: Callable[[str], str | None],
    kept: Collection[str] = (),
) -> str:
    """Return what is published of a lecture.

    ``kept`` are the files that are published with it. The options of ``marimo.App(...)`` that
    name another layout or HTML head are taken out.

    ``mode_of`` tells for an item's name whether the hub edits or runs it (``"edit"``, ``"run"``);
    a link to anything else stays as it is.

    Raises:
        InvalidInput: It is no notebook, or one with marks around what students must not see.
    """
    notebook = parse_cells(text, filename)
    refuse(
        Finding(filename, block.begin, f"a {block.kind} block in a lecture.", _NO_BLOCKS)
        for block in find_blocks(text, filename)
    )
    check_header(text, filename)
    edits = list(_links(notebook.lines, mode_of))
    text = replace_lines(notebook.lines, edits)
    return without_mark(ensure_kind(_without_layout(text, kept), "lecture"))


def linked_items(text: str) -> tuple[str, ...]:
    """Return the names that the notebook links to, each once, in order."""
    return tuple(dict.fromkeys(found["name"] for found in _LINK.finditer(text)))


def mode_by_initial(name: str) -> str | None:
    """Tell by 0.3.16's rule what a name is: ``L…`` a lecture, ``A…`` an assignment."""
    return {"L": "run", "A": "edit"}.get(name[:1])


def _links(lines: tuple[str, ...], mode_of: Callable[[str], str | None]) -> Iterator[LineEdit]:
    def on_the_hub(found: re.Match[str]) -> str:
        mode = mode_of(found["name"])
        if mode is None:
            return found[0]
        return f"{found['before']}{_UP}{mode}/{found['name']}/{found['rest'] or ''}"

    for number, line in enumerate(lines, start=1):
        changed = _LINK.sub(on_the_hub, line)
        if changed != line:
            yield LineEdit(number, number, (changed.rstrip("\r\n"),))


def _without_layout(text: str, kept: Collection[str]) -> str:
    """Take the options out of ``marimo.App(...)`` that name files which do not go along."""
    while (place := _layout_option(text, kept)) is not None:
        text = text[: place[0]] + text[place[1] :]
    return text


def _layout_option(text: str, kept: Collection[str]) -> tuple[int, int] | None:
    """Return where an unwanted option begins and ends, with the comma that goes with it."""
    call = app_call(text)
    if call is None:
        return None
    both: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
    arguments = sorted(both, key=lambda each: (each.lineno, each.col_offset))
    for index, each in enumerate(arguments):
        if not isinstance(each, ast.keyword) or each.arg not in _LAYOUT:
            continue
        if named_by(each) in kept:
            continue
        begin = _offset(text, each.lineno, each.col_offset)
        end = _offset(text, each.end_lineno, each.end_col_offset)
        if index + 1 < len(arguments):
            return begin, _offset(
                text, arguments[index + 1].lineno, arguments[index + 1].col_offset
            )
        if index:
            before = arguments[index - 1]
            return _offset(text, before.end_lineno, before.end_col_offset), end
        comma = re.match(r"\s*,", text[end:])
        return begin, end + (comma.end() if comma is not None else 0)
    return None


def _offset(text: str, line: int | None, column: int | None) -> int:
    """Return the place in the text of a line (from 1) and a column in UTF-8, as Python tells it."""
    lines = split_lines(text)
    number = (line or 1) - 1
    mark = len(_MARK) if number == 0 and text.startswith(_MARK) else 0
    own = lines[number][mark:].encode()[: column or 0].decode()
    return sum(map(len, lines[:number])) + mark + len(own)
