"""Edits of a notebook's PEP 723 block, which keep its comments, its order and the other text."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from itertools import takewhile

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
    there = {_key_of(lines[number - 1]): number for number in range(start + 1, end)}
    edits = [
        LineEdit(there[key], there[key], (_line(key, value),))
        for key, value in keys.items()
        if key in there
    ]
    new = tuple(_line(key, value) for key, value in keys.items() if key not in there)
    place = _before_tables(lines, start, end)
    return replace_lines(lines, [*edits, LineEdit(place, place - 1, new)])


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
    while before < min(2, len(lines)) and _stays_first(lines[before], before):
        before += 1
    made = ("# /// script", f'# mograder-type = "{kind}"', "# ///", "")
    if not before and text.startswith("\ufeff"):
        return "\ufeff" + ensure_kind(text.removeprefix("\ufeff"), kind)
    return replace_lines(lines, [LineEdit(before + 1, before, made)])


def _stays_first(line: str, index: int) -> bool:
    return (index == 0 and line.startswith("#!")) or _CODING.match(line) is not None


def _find_block(text: str) -> Block | None:
    return next(script_blocks(plain_lines(text)), None)


def _before_tables(lines: tuple[str, ...], start: int, end: int) -> int:
    """Return the line (from 1) before which new keys go: the end, or the first table.

    Comments right above a table belong to it.
    """
    content = [line.rstrip("\r\n").removeprefix("#")[1:] for line in lines[start : end - 1]]
    for index, line in enumerate(content):
        if _TABLE.fullmatch(line) and _is_whole(content[:index]):
            above = takewhile(_is_remark, reversed(content[:index]))
            return start + 1 + index - sum(1 for _ in above)
    return end


def _is_whole(content: Sequence[str]) -> bool:
    """Whether lines are complete TOML, so that the next line is not inside a list."""
    try:
        tomllib.loads("\n".join(content))
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    return True


def _is_remark(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _key_of(line: str) -> str:
    return line.removeprefix("# ").partition("=")[0].strip().strip("\"'")


def _line(key: str, value: str | bool) -> str:
    return f"# {key} = {_toml(value)}"


def _toml(value: str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
