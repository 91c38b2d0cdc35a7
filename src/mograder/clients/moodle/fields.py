"""Values of Moodle's JSON, converted to ours: times, grades, texts, files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetPydanticSchema
from pydantic_core.core_schema import no_info_after_validator_function

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.texts import plain
from mograder.core.clock import from_unix_or_none


def moment(seconds: int | None) -> datetime | None:
    """Return an aware time; None for Moodle's 0 and for times out of range."""
    return from_unix_or_none(seconds or None)


def number(text: str | float | None) -> Decimal | None:
    """Return a grade as Moodle stores it; None for its "-1.00000"."""
    if text is None or text == "":
        return None
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        return None
    return None if not value.is_finite() or value < 0 else short(value)


def short(value: Decimal) -> Decimal:
    """Return a number without needless zeros: 87.5, and 100 rather than 1E+2."""
    whole = value.to_integral_value()
    return whole if value == whole else value.normalize()


def _none_as_empty(value: object) -> object:
    return "" if value is None else value


def _plain(value: object) -> object:
    return plain(value) if isinstance(value, str) else _none_as_empty(value)


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else _none_as_empty(value)


def _none_as_zero(value: object) -> object:
    return 0 if value is None else value


def _moment(value: object) -> object:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return moment(value) if isinstance(value, int | None) else value


def _number(value: object) -> object:
    return number(value) if isinstance(value, str | int | float | None) else value


Text = Annotated[str, BeforeValidator(_none_as_empty)]
"""A text that may also be null in Moodle's JSON."""

Plain = Annotated[str, BeforeValidator(_plain)]
"""A text that Moodle escapes for HTML, without the escapes."""

Stripped = Annotated[str, BeforeValidator(_stripped)]
"""A text without spaces around it."""

Count = Annotated[int, BeforeValidator(_none_as_zero)]
"""A number that may also be null in Moodle's JSON."""

Moment = Annotated[datetime | None, BeforeValidator(_moment)]
"""A time in Unix seconds; None for 0 and null."""

Points = Annotated[Decimal | None, BeforeValidator(_number)]
"""A grade; None for null and for a negative number."""


def made_of(shape: object, make: Callable[[Any], object]) -> GetPydanticSchema:
    """Validate a value in Moodle's form, and convert it to the annotated type by ``make``."""
    return GetPydanticSchema(
        lambda _, schema_of: no_info_after_validator_function(make, schema_of(shape))
    )


class Loose(BaseModel):
    """The base of all models: unknown fields are ignored, and no value is repeated in an error."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _File(Loose):
    filename: str
    filepath: Text = "/"
    filesize: int | None = None
    fileurl: Text = ""

    def record(self) -> RemoteFile:
        """Return the record; the name of a file in a folder includes the folder."""
        return RemoteFile(
            f"{self.filepath}{self.filename}".lstrip("/"), self.fileurl, self.filesize
        )


File = Annotated[RemoteFile, made_of(_File, _File.record)]
"""A file in any list of Moodle's."""


class _FileArea(Loose):
    files: tuple[File, ...] = ()


class _Editor(Loose):
    text: Text = ""
    format: int = 1


class _Plugin(Loose):
    type: str
    fileareas: list[_FileArea] = Field(default_factory=list)
    editorfields: list[_Editor] = Field(default_factory=list)


def _plugin(plugins: list[_Plugin], kind: str) -> _Plugin:
    return next((each for each in plugins if each.type == kind), _Plugin(type=kind))


def _files(plugins: list[_Plugin]) -> tuple[RemoteFile, ...]:
    return tuple(file for area in _plugin(plugins, "file").fileareas for file in area.files)


def _comment(plugins: list[_Plugin]) -> str:
    return "\n".join(editor.text for editor in _plugin(plugins, "comments").editorfields)


def _comment_format(plugins: list[_Plugin]) -> int:
    return next((editor.format for editor in _plugin(plugins, "comments").editorfields), 1)


@dataclass(frozen=True, slots=True)
class OnlineText:
    """The text of a submission; ``format`` is Moodle's number of its format, 1 is HTML."""

    text: str = ""
    format: int = 1


def _online_text(plugins: list[_Plugin]) -> OnlineText:
    """Return the text; without one, Moodle sends an empty one of format 0."""
    found = (
        OnlineText(editor.text, editor.format)
        for editor in _plugin(plugins, "onlinetext").editorfields
        if editor.text
    )
    return next(found, OnlineText())


PluginFiles = Annotated[tuple[RemoteFile, ...], made_of(list[_Plugin], _files)]
"""The files in a list of plugins of a submission or of feedback."""

PluginComment = Annotated[str, made_of(list[_Plugin], _comment)]
"""The comment in a list of plugins of feedback."""

PluginFormat = Annotated[int, made_of(list[_Plugin], _comment_format)]
"""Moodle's number for the format of that comment."""

PluginText = Annotated[OnlineText, made_of(list[_Plugin], _online_text)]
"""The text in a list of plugins of a submission."""
