"""The words of a notebook: its Markdown, and its title. Pure."""

from __future__ import annotations

import ast
import inspect
import re
import unicodedata

from mograder.core.errors import InvalidInput
from mograder.notebook.parsing import parse_python
from mograder.notebook.pep723 import stated_title

LONGEST = 120
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_FENCED = re.compile(
    r"^[ \t]*(`{3,}(?=[^`\n]*$)|~{3,}).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)
"""A block of code, up to the end of the text if it is not closed."""
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)")
_FORMULA = re.compile(r"\$(\S(?:[^$\n]*\S)?)\$")
_COMMAND = re.compile(r"\\([A-Za-z]+) *")


def title_of(text: str) -> str:
    """Return a notebook's title as plain text; "" if it has none, or is no Python."""
    stated = stated_title(text)
    if stated:
        return stated[:LONGEST]
    return next(iter(headings_of(text)), "")


def headings_of(code: str) -> list[str]:
    """Return the headings in a code's Markdown as plain text; comments in its code are none."""
    return [_plain(each) for each in _HEADING.findall(_FENCED.sub("", markdown_of(code)))]


def markdown_of(code: str) -> str:
    """Return the texts that calls such as ``mo.md("...")`` render; "" without one."""
    try:
        tree = parse_python(code)
    except InvalidInput:
        return ""
    calls = (each for each in ast.walk(tree) if isinstance(each, ast.Call))
    texts = sorted((call.lineno, text) for call in calls if (text := _markdown(call)))
    return "\n\n".join(inspect.cleandoc(text) for _, text in texts)  # as marimo renders them


def _markdown(call: ast.Call) -> str:
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "md" or not call.args:
        return ""
    text = call.args[0]
    if isinstance(text, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in text.values)
    return _text(text)


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _plain(heading: str) -> str:
    markdown = heading[: 4 * LONGEST].rstrip("# \t")  # bounded: students write such lines, too
    text = _FORMULA.sub(_spoken, _LINK.sub(r"\1", markdown))
    return " ".join(_MARKS.sub("", text).split())[:LONGEST]


def _spoken(formula: re.Match[str]) -> str:
    return _COMMAND.sub(_letter, formula[1]).strip()


def _letter(command: re.Match[str]) -> str:
    """Return the Greek letter of a TeX command, or the command's name."""
    name = command[1].removeprefix("var")
    case = "SMALL" if name.islower() else "CAPITAL"
    known = "LAMDA" if name.lower() == "lambda" else name.upper()  # as Unicode spells it
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {known}")
    except KeyError:
        return f"{command[1]} "
