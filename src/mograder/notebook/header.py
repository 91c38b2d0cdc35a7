"""Changing a notebook's PEP 723 block, and nothing else of it: comments and order stay."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mograder.notebook.cells import LineEdit, replace_lines, split_lines

_START, _END = "# /// script", "# ///"
_COMMENT = re.compile(r"#( .*)?")
_CODING = re.compile(r"#.*?coding[:=][ \t]*[-\w.]+")


def set_keys(text: str, keys: Mapping[str, str | bool]) -> str:
    """Write keys into the block: in the place that each has already, else before its end.

    0.3.16 looks for them by line, so each stands on one of its own (compat.md 7). A text without
    a block stays as it is.
    """
    lines = split_lines(text)
    block = _find_block(lines)
    if block is None:
        return text
    start, end = block
    there = {_key_of(lines[number - 1]): number for number in range(start + 1, end)}
    edits = [
        LineEdit(there[key], there[key], (_line(key, value),))
        for key, value in keys.items()
        if key in there
    ]
    new = tuple(_line(key, value) for key, value in keys.items() if key not in there)
    return replace_lines(lines, [*edits, LineEdit(end, end - 1, new)])


def read_key(text: str, key: str) -> str:
    """Return the text of a key in the block, read by its line as 0.3.16 does; "" for none."""
    lines = split_lines(text)
    block = _find_block(lines)
    if block is None:
        return ""
    for number in range(block[0] + 1, block[1]):
        name, _, value = lines[number - 1].removeprefix("# ").partition("=")
        if name.strip() == key:
            return value.strip().strip("\"'")
    return ""


def ensure_kind(text: str, kind: str) -> str:
    """Let the block say ``mograder-type``; one is made where there is none.

    It is made at the head of the file, below a ``#!`` line and an encoding, where PEP 723 tools
    and people look for it.
    """
    lines = split_lines(text)
    if _find_block(lines) is not None:
        return set_keys(text, {"mograder-type": kind})
    before = 0
    while before < min(2, len(lines)) and _stays_first(lines[before], before):
        before += 1
    made = (_START, f'# mograder-type = "{kind}"', _END, "")
    if not before and text.startswith("\ufeff"):
        return "\ufeff" + ensure_kind(text.removeprefix("\ufeff"), kind)
    return replace_lines(lines, [LineEdit(before + 1, before, made)])


def _stays_first(line: str, index: int) -> bool:
    return (index == 0 and line.startswith("#!")) or _CODING.match(line) is not None


def _find_block(lines: tuple[str, ...]) -> tuple[int, int] | None:
    """Return the lines (from 1) that open and close the script block."""
    plain = [line.rstrip("\r\n").removeprefix("\ufeff") for line in lines]
    if _START not in plain:
        return None
    start = plain.index(_START)
    end = None
    for number in range(start + 1, len(plain)):
        if not _COMMENT.fullmatch(plain[number]):
            break
        if plain[number] == _END:
            end = number
    return None if end is None else (start + 1, end + 1)


def _key_of(line: str) -> str:
    return line.removeprefix("# ").partition("=")[0].strip()


def _line(key: str, value: str | bool) -> str:
    return f"# {key} = {_toml(value)}"


def _toml(value: str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
