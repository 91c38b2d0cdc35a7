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
from datetime import date, time
from difflib import get_close_matches
from enum import StrEnum

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import ValidationError

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import ItemLimits
from mograder.core.sections.settings_values import FEATURES
from mograder.core.sections.validation_messages import complaint

_HOW_TO_WRITE = 'Write it like `# dependencies = ["marimo", "numpy"]`.'
_START = re.compile(r"# /// (?P<type>[a-zA-Z0-9-]+)")
_END = "# ///"
_KIND_KEY = "mograder-type"
_KIND_LINE = re.compile(r"#\s*mograder-type\s*=\s*([\"'])(?P<kind>[\w-]*)\1\s*")
_OURS = "mograder-"
_RUNTIME = "mograder"
"""The name of our package, and of the index that `mograder new` writes for it."""

_OUR_KEYS = frozenset({"allow", "limits", "title"})
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
class _Block:
    """One block: ``line`` is the 1-based line of its ``# /// type``."""

    type: str
    line: int
    content: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Kind:
    """The value of ``mograder-type`` and its line, from 1."""

    name: str
    line: int


def read_script(text: str) -> Script:
    """Return the content of the notebook's ``# /// script`` block; a default `Script` without one.

    Raises:
        InvalidInput: The block is malformed, given twice or never closed, or a value in it is not
            valid. The message names the line.
    """
    lines = _lines(text)
    blocks = [block for block in _blocks(lines) if block.type == "script"]
    if len(blocks) > 1:
        raise _problem(
            blocks[1].line,
            f"a second script block (the first is in line {blocks[0].line})",
            "Keep one `# /// script` block and move all dependencies into it.",
        )
    if not blocks:
        _refuse_unclosed(lines)
        return Script(kind=_checked(_kind_by_line(lines)))
    block = blocks[0]
    table = _parse(block)
    ours = _tool_mograder(block, table.get("tool"))
    if not isinstance(ours.get("title", ""), str):
        raise _problem(_line_of_key(block, "title"), "title must be a text")
    return Script(
        requires_python=_requires_python(block, table.get("requires-python")),
        dependencies=_dependencies(block, table.get("dependencies")),
        tool_uv=_tool_uv(block, table.get("tool")),
        kind=_checked(_stated_kind(block, table) or _kind_by_line(lines)),
        allow=_allow(block, ours.get("allow", [])),
        limits=_limits(block, ours.get("limits", {})),
    )


def read_kind(text: str) -> str:
    """Return the item's kind, or "" without one, even if the rest of the header is malformed.

    0.3.16 finds ``mograder-type`` by its line, anywhere in the file; so does this function if the
    block does not state it.
    """
    lines = _lines(text)
    stated = (_readable_kind(block) for block in _blocks(lines) if block.type == "script")
    kind = next(filter(None, stated), None) or _kind_by_line(lines)
    return kind.name if kind is not None and kind.name in _KINDS else ""


def stated_title(text: str) -> str:
    """Return ``title`` in ``[tool.mograder]``, or "", also where the header is malformed."""
    for block in _blocks(_lines(text)):
        if block.type == "script":
            with suppress(InvalidInput):
                found = _tool_mograder(block, _parse(block).get("tool")).get("title")
                return " ".join(found.split()) if isinstance(found, str) else ""
    return ""


def _lines(text: str) -> list[str]:
    """Split into lines at LF, CRLF and CR, without a byte order mark."""
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return plain.split("\n")


def _blocks(lines: list[str]) -> Iterator[_Block]:
    """Yield the blocks that PEP 723's reference expression finds, in order.

    A block ends at the last ``# ///`` of the comment lines that follow its start. A start without
    an end is not a block, and a start inside a block is ignored.
    """
    position = 0
    while position < len(lines):
        start = _START.fullmatch(lines[position])
        end = end_of_block(lines, position) if start else None
        if start and end is not None:
            content = tuple(line[2:] for line in lines[position + 1 : end])
            yield _Block(start["type"], position + 1, content)
            position = end
        position += 1


def end_of_block(lines: Sequence[str], start: int) -> int | None:
    """Return the index of the last end marker in the comments after ``start``, as in PEP 723."""
    end = None
    for index in range(start + 1, len(lines)):
        line = lines[index]
        if line != "#" and not line.startswith("# "):
            break
        if line == _END and index > start + 1:
            end = index
    return end


def _refuse_unclosed(lines: list[str]) -> None:
    """Raise InvalidInput if a script block at the top of the file is not closed.

    PEP 723 lets tools ignore it, but then modules would be missing without an explanation; uv
    refuses it too.
    """
    for number, line in enumerate(lines, start=1):
        if line == "# /// script":
            raise _problem(number, "the script block is not closed", "End it with a line `# ///`.")
        if line and not line.startswith("#"):
            return


def _readable_kind(block: _Block) -> _Kind | None:
    try:
        return _stated_kind(block, _parse(block))
    except InvalidInput:
        return None


def _parse(block: _Block) -> dict[str, object]:
    try:
        return tomllib.loads("\n".join(block.content))
    except tomllib.TOMLDecodeError as error:
        line, message = _place(block, str(error))
        told = f"the script block is not valid TOML: {message}"
        raise _problem(line, told, _HOW_TO_WRITE) from error
    except RecursionError as error:
        raise _problem(block.line, "the script block is nested too deeply") from error


def _place(block: _Block, message: str) -> tuple[int, str]:
    """Translate tomllib's position in the block to a line of the file."""
    found = _TOML_LINE.search(message)
    if found:
        return block.line + int(found[1]), message[: found.start()]
    return block.line + len(block.content), message.removesuffix(_TOML_END)


def _requires_python(block: _Block, value: object) -> str:
    if value is None:
        return ""
    line = _line_of(block, "requires-python")
    if not isinstance(value, str):
        raise _problem(line, "requires-python must be a text such as '>=3.11'")
    try:
        return str(SpecifierSet(value))
    except InvalidSpecifier as error:
        told = f"requires-python {value!r} is not a version range"
        raise _problem(line, told, "Write it like '>=3.11'.") from error


def _dependencies(block: _Block, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        line = _line_of(block, "dependencies")
        raise _problem(line, "dependencies must be a list of texts", _HOW_TO_WRITE)
    return tuple(_requirement(block, each) for each in value)


def _requirement(block: _Block, text: str) -> str:
    try:
        return str(Requirement(text.strip()))
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0].rstrip(".:")
        raise _problem(
            _line_of(block, text),
            f"{text!r} is not a requirement that can be installed ({reason})",
            "Write a package's name and, if needed, its versions: 'numpy>=2'.",
        ) from error


def _tool_uv(block: _Block, tool: object) -> str:
    table = tool.get("uv") if isinstance(tool, dict) else None
    if table is None:
        return ""
    if not isinstance(table, dict):
        raise _problem(_line_of(block, "uv"), "[tool.uv] must be a table")
    # 0.3.16 appends its keys to the block, where TOML assigns them to the last table.
    kept = {key: value for key, value in table.items() if not key.startswith(_OURS)}
    _forget_our_source(kept)
    if not kept:
        return ""
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), default=_toml_scalar)


def _forget_our_source(table: dict[str, object]) -> None:
    """Remove the author's source and index of our runtime, which each runner provides itself.

    The author's path does not exist elsewhere, and notebooks that differ only in it can share an
    environment.
    """
    sources, indexes = table.get("sources"), table.get("index")
    if isinstance(sources, dict):
        table["sources"] = {name: each for name, each in sources.items() if name != _RUNTIME}
    if isinstance(indexes, list):
        named = (each.get("name") if isinstance(each, dict) else "" for each in indexes)
        pairs = zip(indexes, named, strict=True)
        table["index"] = [each for each, name in pairs if name != _RUNTIME]
    for key in ("sources", "index"):
        if key in table and not table[key]:
            del table[key]


def _tool_mograder(block: _Block, tool: object) -> dict[str, object]:
    """Return ``[tool.mograder]`` without the keys that 0.3.16 appends to the last table."""
    table = tool.get("mograder") if isinstance(tool, dict) else None
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise _problem(_line_of(block, "mograder"), "[tool.mograder] must be a table")
    ours = {key: value for key, value in table.items() if not key.startswith(_OURS)}
    for key in ours.keys() - _OUR_KEYS:
        line = _line_of_key(block, key)
        known = ", ".join(f"`{each}`" for each in sorted(_OUR_KEYS))
        raise _problem(line, f"[tool.mograder] has no key {key!r}", f"It knows {known}.")
    return ours


def _allow(block: _Block, wanted: object) -> tuple[str, ...]:
    line = _line_of_key(block, "allow")
    if not isinstance(wanted, list) or not all(isinstance(each, str) for each in wanted):
        raise _problem(line, "allow must be a list of texts")
    for each in wanted:
        if each not in FEATURES:
            known = ", ".join(FEATURES)
            raise _problem(line, f"allow {each!r} is not known", f"Choose from {known}.")
    return tuple(sorted(set(wanted)))


def _limits(block: _Block, table: object) -> ItemLimits:
    if not isinstance(table, dict):
        raise _problem(_line_of_key(block, "limits"), "[tool.mograder.limits] must be a table")
    wanted = {key: value for key, value in table.items() if not key.startswith(_OURS)}
    try:
        return ItemLimits.model_validate(wanted, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    key = str(first["loc"][0])
    line = _line_of_key(block, key)
    if first["type"] != "extra_forbidden":
        raise _problem(line, f"{key} in [tool.mograder.limits] {complaint(first)}")
    close = get_close_matches(key, ItemLimits.model_fields, n=1, cutoff=0.6)
    hint = (
        f"Did you mean `{close[0]}`?"
        if close
        else f"It knows {', '.join(ItemLimits.model_fields)}."
    )
    raise _problem(line, f"[tool.mograder.limits] has no key {key!r}", hint)


def _toml_scalar(value: object) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"TOML has no {type(value).__name__}")


def _stated_kind(block: _Block, table: dict[str, object]) -> _Kind | None:
    value = table.get(_KIND_KEY)
    if value is None:
        return None
    line = _line_of(block, _KIND_KEY)
    if not isinstance(value, str):
        raise _problem(line, "mograder-type must be a text")
    return _Kind(value, line)


def _kind_by_line(lines: list[str]) -> _Kind | None:
    for number, line in enumerate(lines, start=1):
        found = _KIND_LINE.fullmatch(line)
        if found:
            return _Kind(found["kind"], number)
    return None


def _checked(kind: _Kind | None) -> str:
    if kind is None or not kind.name:
        return ""
    if kind.name not in _KINDS:
        known = ", ".join(ItemKind)
        raise _problem(
            kind.line, f"mograder-type {kind.name!r} is not known", f"Use one of {known}."
        )
    return kind.name


def _line_of(block: _Block, text: str) -> int:
    """Return the first line of the block that contains the text, or the block's first line."""
    for offset, line in enumerate(block.content, start=1):
        if text in line:
            return block.line + offset
    return block.line


def _line_of_key(block: _Block, key: str) -> int:
    """Return the line that sets a key of our own table, or the first that mentions the key.

    A dependency's name may contain the key, so the search starts at the first line with
    ``mograder``, if there is one.
    """
    ours = next((n for n, line in enumerate(block.content) if "mograder" in line), 0)
    setting = re.compile(rf"(?<![\w-])[\"']?{re.escape(key)}[\"']?\s*(?:=|\]|\.)")
    for offset, line in enumerate(block.content[ours:], start=ours + 1):
        if setting.search(line):
            return block.line + offset
    return _line_of(block, key)


def _problem(line: int, message: str, hint: str = "") -> InvalidInput:
    return InvalidInput(f"line {line}: {message}.", hint=hint)
