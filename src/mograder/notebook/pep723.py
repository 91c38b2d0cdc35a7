"""The parser of a notebook's header: its PEP 723 block and the ``mograder-*`` keys in it.

Pure. The hub reads a release's header at publish time, and the command line reads it to distinguish
lectures from assignments (B90, compatibility-0.3.16.md 7).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from itertools import takewhile
from operator import methodcaller
from typing import Annotated

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import ItemLimits
from mograder.core.sections.settings_values import complaint, feature

_START = re.compile(r"# /// (?P<type>[a-zA-Z0-9-]+)")
_END = "# ///"
_KIND_KEY = "mograder-type"
_KIND_LINE = re.compile(r"#\s*mograder-type\s*=\s*([\"'])(?P<kind>[\w-]*)\1\s*")
_OURS = "mograder-"
_RUNTIME = "mograder"
"""The name of our package, and of the index that `mograder new` writes for it."""

_HINTS = {
    "dependencies": 'Write it like `# dependencies = ["marimo", "numpy"]`.',
    "requires-python": "Write it like '>=3.11'.",
}
_TOML_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
_TOML_END = " (at end of document)"


class ItemKind(StrEnum):
    """The kind of an item, stated by ``mograder-type``; items are listed in this order of kinds."""

    ASSIGNMENT = "assignment"
    LECTURE = "lecture"
    DEMO = "demo"


_KINDS = frozenset(kind.value for kind in ItemKind)


@dataclass(frozen=True, slots=True)
class Script:
    """The requirements of a notebook, and the kind of item that its header states.

    ``dependencies`` and ``requires_python`` are normalised by `packaging`, so that equal
    requirements compare equal. ``tool_uv`` is the ``[tool.uv]`` table as JSON with sorted keys,
    empty without one. ``kind`` is empty, or an :class:`ItemKind`; ``allow`` holds some of
    :data:`~mograder.core.sections.settings_values.FEATURES`, sorted; ``limits`` holds the limits
    of the item's sessions. These last three do not change the environment.
    """

    requires_python: str = ""
    dependencies: tuple[str, ...] = ()
    tool_uv: str = ""
    kind: str = ""
    allow: tuple[str, ...] = ()
    limits: ItemLimits = field(default_factory=ItemLimits)


@dataclass(frozen=True, slots=True)
class Block:
    """A script block: ``line`` is the 1-based line of its ``# /// script``."""

    line: int
    content: tuple[str, ...]

    @property
    def end(self) -> int:
        return self.line + len(self.content) + 1


def _requirement(text: str) -> str:
    try:
        return str(Requirement(text.strip()))
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0].rstrip(".:")
        told = f"must list what can be installed, not {text!r} ({reason})"
        raise ValueError(told) from error


def _versions(text: str) -> str:
    try:
        found = SpecifierSet(text)
        for each in found:
            each.contains("3")  # fails for numbers of thousands of digits
    except ValueError as error:
        raise ValueError(f"{text!r} is not a version range") from error
    return str(found)


class _Ours(BaseModel):
    """``[tool.mograder]``."""

    model_config = ConfigDict(extra="forbid")

    allow: list[Annotated[str, AfterValidator(feature)]] = []
    limits: ItemLimits = ItemLimits()
    title: str = ""


class _Tool(BaseModel):
    uv: dict[str, object] = {}
    mograder: _Ours = _Ours()


class _Header(BaseModel):
    python: Annotated[str, AfterValidator(_versions)] = Field("", alias="requires-python")
    dependencies: list[Annotated[str, AfterValidator(_requirement)]] = []
    kind: str = Field("", alias="mograder-type")
    tool: _Tool = _Tool()


_TABLES = {("tool", "uv"), ("tool", "mograder"), ("tool", "mograder", "limits")}
_KNOWN = {"mograder": _Ours.model_fields, "limits": ItemLimits.model_fields}


def read_script(text: str) -> Script:
    """Return the content of the notebook's ``# /// script`` block; a default `Script` without one.

    Raises:
        InvalidInput: The block is malformed, given twice or never closed, or a value in it is not
            valid. The message names the line.
    """
    lines = plain_lines(text)
    blocks = list(script_blocks(lines))
    if len(blocks) > 1:
        raise _problem(
            blocks[1].line,
            f"a second script block (the first is in line {blocks[0].line})",
            "Keep one `# /// script` block and move all dependencies into it.",
        )
    if not blocks:
        # PEP 723 lets tools ignore a block that is not closed, but then modules would be missing
        # without an explanation; uv refuses it too.
        top = list(takewhile(lambda line: not line or line.startswith("#"), lines))
        if "# /// script" in top:
            told = "the script block is not closed"
            raise _problem(top.index("# /// script") + 1, told, "End it with a line `# ///`.")
        return Script(kind=_checked_kind("", lines))
    try:
        header = _Header.model_validate(_without_ours(_parse(blocks[0])), strict=True)
        tool_uv = _tool_uv(header.tool.uv)
    except ValidationError as error:
        raise _refusal(blocks[0], error) from error
    except (RecursionError, ValueError) as error:
        raise _endless(blocks[0]) from error
    return Script(
        requires_python=header.python,
        dependencies=tuple(header.dependencies),
        tool_uv=tool_uv,
        kind=_checked_kind(header.kind, lines),
        allow=tuple(sorted(set(header.tool.mograder.allow))),
        limits=header.tool.mograder.limits,
    )


def read_kind(text: str) -> str:
    """Return the item's kind, or "" without one, even if the rest of the header is malformed.

    0.3.16 finds ``mograder-type`` by its line, anywhere in the file; so does this function if the
    block does not state it.
    """
    lines = plain_lines(text)
    stated = (_readable(block).get(_KIND_KEY) for block in script_blocks(lines))
    kind = next((each for each in stated if each and isinstance(each, str)), _kind_by_line(lines))
    return kind if kind in _KINDS else ""


def stated_title(text: str) -> str:
    """Return ``title`` in ``[tool.mograder]``, or "", also where the header is malformed."""
    for block in script_blocks(plain_lines(text)):
        match _readable(block):
            case {"tool": {"mograder": {"title": str(title)}}}:
                return " ".join(title.split())
    return ""


def plain_lines(text: str) -> list[str]:
    """Split into lines at LF, CRLF and CR, without a byte order mark."""
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return plain.split("\n")


def script_blocks(lines: Sequence[str]) -> Iterator[Block]:
    """Yield the script blocks that PEP 723's reference expression finds, in order.

    A block ends at the last ``# ///`` of the comment lines that follow its start. A start without
    an end is not a block, and a start inside a block is ignored.
    """
    position = 0
    while position < len(lines):
        start = _START.fullmatch(lines[position])
        end = _end_of_block(lines, position) if start else None
        if start and end is not None:
            if start["type"] == "script":
                content = tuple(line[2:] for line in lines[position + 1 : end])
                yield Block(position + 1, content)
            position = end
        position += 1


def _end_of_block(lines: Sequence[str], start: int) -> int | None:
    """Return the index of the last end marker in the comments after ``start``, as in PEP 723."""
    end = None
    for index in range(start + 1, len(lines)):
        line = lines[index]
        if line != "#" and not line.startswith("# "):
            break
        if line == _END and index > start + 1:
            end = index
    return end


def _readable(block: Block) -> dict[str, object]:
    with suppress(InvalidInput):
        return _parse(block)
    return {}


def _parse(block: Block) -> dict[str, object]:
    try:
        return tomllib.loads("\n".join(block.content))
    except tomllib.TOMLDecodeError as error:
        line, message = _place(block, str(error))
        told = f"the script block is not valid TOML: {message}"
        raise _problem(line, told, _HINTS["dependencies"]) from error
    except (RecursionError, ValueError) as error:
        raise _endless(block) from error


def _place(block: Block, message: str) -> tuple[int, str]:
    """Translate tomllib's position in the block to a line of the file."""
    found = _TOML_LINE.search(message)
    if found:
        return block.line + int(found[1]), message[: found.start()]
    return block.end - 1, message.removesuffix(_TOML_END)


def _without_ours(table: dict[str, object], *, top: bool = True) -> dict[str, object]:
    """Return the table without 0.3.16's keys in the tables below it.

    0.3.16 appends them to the block, where TOML assigns them to the last table. A key there with a
    table of its own is a package's, as in ``[tool.uv.sources]``.
    """
    return {
        key: _without_ours(value, top=False) if isinstance(value, dict) else value
        for key, value in table.items()
        if top or isinstance(value, dict | list) or not key.startswith(_OURS)
    }


def _tool_uv(table: dict[str, object]) -> str:
    """Return the table as JSON, without the author's source and index of our runtime.

    Each runner provides it itself. The author's path does not exist elsewhere, and notebooks that
    differ only in it can share an environment.
    """
    sources, indexes = table.pop("sources", None), table.pop("index", None)
    if isinstance(sources, dict):
        sources = {name: each for name, each in sources.items() if name != _RUNTIME}
    if isinstance(indexes, list):
        indexes = [e for e in indexes if not (isinstance(e, dict) and e.get("name") == _RUNTIME)]
    table |= {key: told for key, told in (("sources", sources), ("index", indexes)) if told}
    if not table:
        return ""
    # TOML's dates and times are the only values that JSON does not know.
    return json.dumps(
        table, sort_keys=True, separators=(",", ":"), default=methodcaller("isoformat")
    )


def _kind_by_line(lines: Sequence[str]) -> str:
    found = filter(None, map(_KIND_LINE.fullmatch, lines))
    return next((each["kind"] for each in found), "")


def _checked_kind(stated: str, lines: Sequence[str]) -> str:
    kind = stated or _kind_by_line(lines)
    if kind and kind not in _KINDS:
        line = next((n for n, each in enumerate(lines, start=1) if _KIND_KEY in each), 1)
        told = f"mograder-type {kind!r} is not known"
        raise _problem(line, told, f"Use one of {', '.join(ItemKind)}.")
    return kind


def _refusal(block: Block, error: ValidationError) -> InvalidInput:
    """Return the first mistake in the words of the header, with its line."""
    first = error.errors(include_url=False)[0]
    keys = tuple(each for each in first["loc"] if isinstance(each, str))
    key, table = keys[-1], keys[-2] if len(keys) > 1 else ""
    line, told = _line_of(block, key, table), complaint(first)
    if len(keys) < len(first["loc"]):  # in a list, whose lines may be many
        numbered = enumerate(block.content, start=block.line + 1)
        line = next((n for n, each in numbered if str(first["input"]) in each), line)
        told = "must be a list of texts" if first["type"] == "string_type" else told
    parent = f"[{'.'.join(keys[:-1])}]"
    if first["type"] == "extra_forbidden":
        known = _KNOWN[table]
        close = get_close_matches(key, known, n=1, cutoff=0.6)
        hint = f"Did you mean `{close[0]}`?" if close else f"It knows {', '.join(known)}."
        return _problem(line, f"{parent} has no key {key!r}", hint)
    name = f"[{'.'.join(keys)}]" if keys in _TABLES else key
    where = f" in {parent}" if table == "limits" else ""
    return _problem(line, f"{name}{where} {told}", _HINTS.get(key, ""))


def _line_of(block: Block, key: str, table: str) -> int:
    """Return the line that sets a key, or the block's first line.

    A dependency's name may contain the key, so the search starts at the first line with the name of
    its table.
    """
    begin = next((n for n, line in enumerate(block.content) if table in line), 0)
    setting = re.compile(rf"(?<![\w-])[\"']?{re.escape(key)}[\"']?\s*(?:=|\]|\.)")
    lines = enumerate(block.content[begin:], start=block.line + begin + 1)
    return next((number for number, line in lines if setting.search(line)), block.line)


def _endless(block: Block) -> InvalidInput:
    return _problem(block.line, "the script block is nested too deeply, or has too long a number")


def _problem(line: int, message: str, hint: str = "") -> InvalidInput:
    return InvalidInput(f"line {line}: {message}.", hint=hint)
