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
    texts = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Attribute(attr="md"), [ast.JoinedStr(values), *_]):
                texts.append((node.lineno, "".join(_text(part) or "…" for part in values)))
            case ast.Call(ast.Attribute(attr="md"), [text, *_]):
                texts.append((node.lineno, _text(text)))
    # As marimo renders them.
    return "\n\n".join(inspect.cleandoc(text) for _, text in sorted(texts) if text)


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _plain(heading: str) -> str:
    markdown = heading[: 4 * LONGEST].rstrip("# \t")  # bounded: students write such lines, too
    text = _FORMULA.sub(_spoken, _LINK.sub(r"\1", markdown))
    return " ".join(_MARKS.sub("", text).split())[:LONGEST]


def _spoken(formula: re.Match[str]) -> str:
    """Return a formula with the Greek letters of its commands, or the commands' names."""

    def letter(command: re.Match[str]) -> str:
        name = command[1].removeprefix("var")
        case = "SMALL" if name.islower() else "CAPITAL"
        known = "LAMDA" if name.lower() == "lambda" else name.upper()  # as Unicode spells it
        try:
            return unicodedata.lookup(f"GREEK {case} LETTER {known}")
        except KeyError:
            return f"{command[1]} "

    return _COMMAND.sub(letter, formula[1]).strip()
