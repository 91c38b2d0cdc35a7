"""Values of Moodle's JSON, converted to ours: times, grades, texts, files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    StringConstraints,
)
from pydantic_core.core_schema import no_info_after_validator_function

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.texts import plain
from mograder.core.clock import from_unix_or_none


def moment(seconds: object) -> object:
    """Return an aware time; None for Moodle's 0 and for times out of range."""
    if isinstance(seconds, str) and seconds.isdecimal():
        seconds = int(seconds)
    return from_unix_or_none(seconds or None) if isinstance(seconds, int | None) else seconds


def number(text: str | float | None) -> Decimal | None:
    """Return a grade as Moodle stores it; None for its "-1.00000"."""
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        return None
    return None if not value.is_finite() or value < 0 else short(value)


def short(value: Decimal) -> Decimal:
    """Return a number without needless zeros: 87.5, and 100 rather than 1E+2."""
    whole = value.to_integral_value()
    return whole if value == whole else value.normalize()


def _or(instead: object) -> BeforeValidator:
    return BeforeValidator(lambda value: instead if value is None else value)


Text = Annotated[str, _or("")]

Plain = Annotated[
    str, BeforeValidator(lambda value: plain(value) if isinstance(value, str) else value), _or("")
]
"""A text that Moodle escapes for HTML, without the escapes."""

Stripped = Annotated[str, StringConstraints(strip_whitespace=True), _or("")]

Count = Annotated[int, _or(0)]

Moment = Annotated[datetime | None, BeforeValidator(moment)]
"""A time in Unix seconds; None for 0 and null."""

Points = Annotated[
    Decimal | None,
    BeforeValidator(
        # A list or an object is no missing grade, but an answer that we do not know.
        lambda value: number(value) if isinstance(value, str | int | float | None) else value
    ),
]


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
    timemodified: int | None = None

    def record(self) -> RemoteFile:
        """Return the record; the name of a file in a folder includes the folder."""
        name = f"{self.filepath}{self.filename}".lstrip("/")
        return RemoteFile(name, self.fileurl, self.filesize, modified=self.timemodified)


File = Annotated[RemoteFile, made_of(_File, _File.record)]


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


PluginFiles = Annotated[
    tuple[RemoteFile, ...],
    made_of(
        list[_Plugin],
        lambda all_: tuple(f for area in _plugin(all_, "file").fileareas for f in area.files),
    ),
]

PluginComment = Annotated[
    str,
    made_of(
        list[_Plugin],
        lambda all_: "\n".join(each.text for each in _plugin(all_, "comments").editorfields),
    ),
]

PluginFormat = Annotated[
    int,
    made_of(
        list[_Plugin],
        lambda all_: next((each.format for each in _plugin(all_, "comments").editorfields), 1),
    ),
]

PluginText = Annotated[OnlineText, made_of(list[_Plugin], _online_text)]
