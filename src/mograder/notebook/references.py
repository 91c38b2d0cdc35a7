"""The files and folders beside it that a notebook refers to. Pure."""

from __future__ import annotations

import ast
import re

from mograder.notebook.cells import plain_text, statements_of

_FILES_OF_APP = ("layout_file", "css_file", "html_head_file")


def app_call(text: str) -> ast.Call | None:
    """Return the call of ``marimo.App(...)`` in a notebook's text, or None."""
    for node in statements_of(plain_text(text)):
        match node:
            case ast.Assign(
                targets=[ast.Name(id="app")],
                value=ast.Call(func=ast.Attribute(value=ast.Name(), attr="App")) as call,
            ):
                return call
    return None


def app_files(text: str) -> tuple[str, ...]:
    """Return the paths in ``marimo.App(...)``: of layout, style sheet and HTML head."""
    call = app_call(text)
    found = (named_by(each) for each in (call.keywords if call is not None else ()))
    return tuple(path for path in found if path)


def named_by(option: ast.keyword) -> str:
    """Return the path in an option of ``marimo.App(...)``, relative to the notebook, or ""."""
    match option:
        case ast.keyword(arg=str(name), value=ast.Constant(value=str(path))):
            return path.removeprefix("./") if name in _FILES_OF_APP else ""
    return ""


_MAY_GIVE_AWAY = re.compile("solution|answer|hidden|secret|test", re.IGNORECASE)
"""A folder with such a word in its name counts only where it is used as a path or an import."""


def names_folder(text: str, folder: str) -> bool:
    """Whether a text refers to a folder beside it: in a path, an import, or a quoted value.

    A key of a dictionary and an index in brackets do not count.
    """
    name = re.escape(folder)
    quoted = rf"""["']{name}["']"""
    ways = [
        rf"""["'/(\\]{name}[/\\]""",
        rf"""[/\\]{name}["']""",
        rf"/\s*{quoted}",
        rf"(?:[Pp]ath|join|dir|walk|glob)\((?:[^()]*,)?\s*{quoted}",
        rf"^\s*(?:from|import)\s+{name}\b",
    ]
    if not _MAY_GIVE_AWAY.search(folder):
        ways.append(rf"(?:[(,]|(?<![=!<>])=)\s*{quoted}(?!\s*:)")
    return re.search("|".join(ways), text, re.MULTILINE) is not None
