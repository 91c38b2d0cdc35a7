"""The words of a notebook: its Markdown, and its title. Pure."""

from __future__ import annotations

import ast
import re
import textwrap

from mograder.core.errors import InvalidInput
from mograder.notebook.parsing import parse_python
from mograder.notebook.pep723 import stated_title

LONGEST = 120
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)")


def title_of(text: str) -> str:
    """Return a notebook's title as plain text; "" if it has none, or is no Python."""
    stated = stated_title(text)
    if stated:
        return stated[:LONGEST]
    found = _HEADING.search(markdown_of(text))
    return "" if found is None else _plain(found[1])


def markdown_of(code: str) -> str:
    """Return the texts that calls such as ``mo.md("...")`` render; "" without one."""
    try:
        tree = parse_python(code)
    except InvalidInput:
        return ""
    calls = (each for each in ast.walk(tree) if isinstance(each, ast.Call))
    texts = sorted((call.lineno, text) for call in calls if (text := _markdown(call)))
    return "\n\n".join(textwrap.dedent(text).strip("\n") for _, text in texts)


def _markdown(call: ast.Call) -> str:
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "md" or not call.args:
        return ""
    text = call.args[0]
    return text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""


def _plain(markdown: str) -> str:
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", markdown)).split())[:LONGEST]
