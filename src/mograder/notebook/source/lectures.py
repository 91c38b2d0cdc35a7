"""The conversion of a lecture's source into the notebook that the hub runs.

B70, compatibility-0.3.16.md 7.

Links between notebooks become links between pages of the hub. They are relative, because authors do
not know the hub's path prefix: a lecture's page is at ``{prefix}/run/user/<user>/<lecture>/``, so
four levels up is the hub itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection
from urllib.parse import unquote

from mograder.notebook.cells import LineEdit, parse_cells, replace_lines, split_lines
from mograder.notebook.findings import Finding, refuse
from mograder.notebook.header_edit import check_header, ensure_kind
from mograder.notebook.pep723 import read_kind
from mograder.notebook.references import app_call, named_by
from mograder.notebook.source.release import without_mark
from mograder.notebook.source.solution_markers import find_blocks

_ADDRESS = (
    r"""(?P<before>%s)(?:\.\./|\./)?(?P<name>%s)/(?P=name)\.py"""
    r"""(?P<rest>[#?][^)>\s"'\\]*)?(?=[)>\s"'\\]|\Z)"""
)
_LINKS = tuple(
    re.compile(_ADDRESS % each)
    for each in (
        (r"\]\([ ]?|\]:[ ]", r"""[^/()<>\s"'\\]+"""),
        (r"\]\([ ]?<|\]:[ ]<", r"[^/<>\n\\]+"),
        (r"""\bhref=\\?["']""", r"""[^/<>\n"'\\]+"""),
    )
)
"""The address in ``[text](…)`` and ``[text]: …``, the same in angle brackets, and ``href="…"``:
only these two may hold spaces and brackets."""
_UP = "../../../../"
_MARK = "\ufeff"
_NO_BLOCKS = "It would be published. Make an assignment of it, or remove the block."
_LAYOUT = ("layout_file", "html_head_file")
"""Options that name files beside the source, which may not be published with it."""


def to_lecture(
    text: str,
    *,
    filename: str,
    mode_of: Callable[[str], str | None],
    kept: Collection[str] = (),
) -> str:
    """Return the published text of a lecture.

    ``kept`` holds the names of the files that are published with it. Options of ``marimo.App(...)``
    that name another layout or HTML head are removed.

    ``mode_of`` returns for an item's name whether the hub edits or runs it (``"edit"``, ``"run"``);
    links to other names, for which it returns None, stay unchanged.

    Raises: InvalidInput if it is not a notebook, or has solution or hidden-test markers.
    """
    notebook = parse_cells(text, filename)
    refuse(
        Finding(filename, block.begin, f"a {block.kind} block in a lecture.", _NO_BLOCKS)
        for block in find_blocks(text, filename)
    )
    check_header(text, filename)

    def on_the_hub(found: re.Match[str]) -> str:
        mode = mode_of(unquote(found["name"]))
        if mode is None:
            return found[0]
        return f"{found['before']}{_UP}{mode}/{found['name']}/{found['rest'] or ''}"

    edits = []
    for number, line in enumerate(notebook.lines, start=1):
        changed = line
        for link in _LINKS:
            changed = link.sub(on_the_hub, changed)
        if changed != line:
            edits.append(LineEdit(number, number, (changed.rstrip("\r\n"),)))
    text = replace_lines(notebook.lines, edits)
    kind = "demo" if read_kind(text) == "demo" else "lecture"
    while (place := _layout_option(text, kept)) is not None:
        text = text[: place[0]] + text[place[1] :]
    return without_mark(ensure_kind(text, kind))


def linked_items(text: str) -> tuple[str, ...]:
    """Return the names that the notebook links to, each once, in order."""
    found = (each for link in _LINKS for each in link.finditer(text))
    ordered = sorted(found, key=lambda each: each.start())
    return tuple(dict.fromkeys(unquote(each["name"]) for each in ordered))


def mode_by_initial(name: str) -> str | None:
    """Return the mode of a name by 0.3.16's rule: "run" for ``L…``, "edit" for ``A…``."""
    return {"L": "run", "A": "edit"}.get(name[:1])


def _layout_option(text: str, kept: Collection[str]) -> tuple[int, int] | None:
    """Return the begin and end offset of an option of ``marimo.App(...)``, with its comma, or None.

    It is one that names a file which is not published.
    """
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
    """Return the character offset of a line (from 1) and a column in UTF-8 bytes, as in ``ast``."""
    lines = split_lines(text)
    number = (line or 1) - 1
    mark = len(_MARK) if number == 0 and text.startswith(_MARK) else 0
    own = lines[number][mark:].encode()[: column or 0].decode()
    return sum(map(len, lines[:number])) + mark + len(own)
