"""Edits of a notebook's PEP 723 block, which keep its comments, its order and the other text."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import LineEdit, replace_lines, split_lines
from mograder.notebook.pep723 import Block, plain_lines, read_script, script_blocks

_TABLE = re.compile(r"\s*\[{1,2}[^\[\]]+\]{1,2}\s*(#.*)?")
_VALUE = re.compile(
    r"""[ ]*(?P<key>[\w-]+)\s*=\s*"""
    r"""(?:"(?P<double>[^"\r\n]*)"|'(?P<single>[^'\r\n]*)'|(?P<bare>[^"'\s#]+))"""
)
_CODING = re.compile(r"#.*?coding[:=][ \t]*[-\w.]+")


def set_keys(text: str, keys: Mapping[str, str | bool]) -> str:
    """Return the text with keys set in the block: replaced where they are, else added at its end.

    0.3.16 searches the block by line, so each key has a line of its own
    (compatibility-0.3.16.md 7). New keys come before the first table, since TOML would count them
    to a table above them. A text without a block is returned unchanged.
    """
    lines, block = split_lines(text), _find_block(text)
    if block is None:
        return text
    start, end = block.line, block.end
    heads = (lines[n - 1].removeprefix("# ").partition("=")[0] for n in range(start + 1, end))
    there = {head.strip().strip("\"'"): n for n, head in enumerate(heads, start + 1)}
    edits, new = [], []
    for key, value in keys.items():
        # TOML's texts and booleans are those of JSON, except for one character.
        line = f"# {key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
        if key in there:
            edits.append(LineEdit(there[key], there[key], (line,)))
        else:
            new.append(line)
    place = _before_tables(lines, start, end)
    return replace_lines(lines, [*edits, LineEdit(place, place - 1, tuple(new))])


def check_header(text: str, filename: str) -> None:
    """Raise InvalidInput (``file:line: reason``) if the script block is malformed."""
    try:
        read_script(text)
    except InvalidInput as error:
        place = error.message.removeprefix("line ")
        raise InvalidInput(f"{filename}:{place}", hint=error.hint) from error


def has_block(text: str) -> bool:
    return _find_block(text) is not None


def read_key(text: str, key: str) -> str:
    """Return the value of a key, found by its line as in 0.3.16, or "" without it."""
    block = _find_block(text)
    for line in block.content if block is not None else ():
        found = _VALUE.match(line)
        if found is not None and found["key"] == key:
            return found["double"] or found["single"] or found["bare"] or ""
    return ""


def ensure_kind(text: str, kind: str) -> str:
    """Return the text with ``mograder-type`` set, in a new block if it has no block.

    A new block goes to the top of the file, below a ``#!`` line and an encoding declaration.
    """
    lines = split_lines(text)
    if has_block(text):
        return set_keys(text, {"mograder-type": kind})
    before = 0
    for line in lines[:2]:
        if not (_CODING.match(line) or (before == 0 and line.startswith("#!"))):
            break
        before += 1
    made = ("# /// script", f'# mograder-type = "{kind}"', "# ///", "")
    if not before and text.startswith("\ufeff"):
        return "\ufeff" + ensure_kind(text.removeprefix("\ufeff"), kind)
    return replace_lines(lines, [LineEdit(before + 1, before, made)])


def _find_block(text: str) -> Block | None:
    return next(script_blocks(plain_lines(text)), None)


def _before_tables(lines: tuple[str, ...], start: int, end: int) -> int:
    """Return the line (from 1) before which new keys go: the end, or the first table.

    Comments right above a table belong to it.
    """
    content = [line.rstrip("\r\n").removeprefix("#")[1:] for line in lines[start : end - 1]]
    for index, line in enumerate(content):
        if not _TABLE.fullmatch(line):
            continue
        with suppress(tomllib.TOMLDecodeError, RecursionError):
            tomllib.loads("\n".join(content[:index]))  # else the line is inside a list
            above = content[:index]
            while above and above[-1].lstrip()[:1] in ("", "#"):
                above.pop()
            return start + 1 + len(above)
    return end
