"""From a lecture's source to what the hub runs (B70, compat.md 7).

Links between notebooks become links between pages of the hub. They are relative, because a hub
may live below a path prefix that no author knows: a lecture's page is at
``{prefix}/run/user/<user>/<lecture>/``, so four steps up is the hub itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

from mograder.notebook.cells import LineEdit, parse_cells, replace_lines, split_lines
from mograder.notebook.header import ensure_kind

_LINK = re.compile(
    r"(?P<text>\[[^\]\n]*\])\((?:\.\./|\./)?(?P<name>[^/()\s]+)/(?P=name)\.py(?P<rest>[#?][^)\s]*)?\)"
)
_UP = "../../../../"
_LAYOUT = ("layout_file", "html_head_file")
"""Files beside the source that are not published with it."""


def to_lecture(text: str, *, filename: str, mode_of: Callable[[str], str | None]) -> str:
    """Return what is published of a lecture.

    ``mode_of`` tells for an item's name whether the hub edits or runs it (``"edit"``, ``"run"``);
    a link to anything else stays as it is.

    Raises:
        InvalidInput: It is no notebook.
    """
    notebook = parse_cells(text, filename)
    edits = list(_links(notebook.lines, mode_of))
    text = replace_lines(notebook.lines, edits)
    return ensure_kind(_without_layout(text), "lecture")


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
        return f"{found['text']}({_UP}{mode}/{found['name']}/{found['rest'] or ''})"

    for number, line in enumerate(lines, start=1):
        changed = _LINK.sub(on_the_hub, line)
        if changed != line:
            yield LineEdit(number, number, (changed.rstrip("\r\n"),))


def _without_layout(text: str) -> str:
    """Take the options out of ``marimo.App(...)`` that name files beside the source."""
    call = _app_call(text)
    unwanted = [] if call is None else [k for k in call.keywords if k.arg in _LAYOUT]
    if call is None or not unwanted:
        return text
    lines = split_lines(text)
    kept = [*call.args, *(k for k in call.keywords if k.arg not in _LAYOUT)]
    options = ", ".join(ast.unparse(each) for each in kept)
    last = call.end_lineno or call.lineno
    head = lines[call.lineno - 1].encode()[: call.func.end_col_offset].decode()
    tail = lines[last - 1].encode()[call.end_col_offset or 0 :].decode().rstrip("\r\n")
    return replace_lines(lines, [LineEdit(call.lineno, last, (f"{head}({options}){tail}",))])


def _app_call(text: str) -> ast.Call | None:
    plain = "".join(line.rstrip("\r\n") + "\n" for line in split_lines(text))
    for node in ast.parse(plain.removeprefix("\ufeff")).body:
        value = node.value if isinstance(node, ast.Assign) else None
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "marimo.App":
            return value
    return None
