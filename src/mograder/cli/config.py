"""``mograder config``: the settings in force, and the source of each."""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps
from pathlib import Path

import click

from mograder.cli.shared.options import PATH
from mograder.cli.shared.result import Result, json_option, tell
from mograder.core.settings import FILE_NAME, LoadedSettings, SettingRow, describe, load_settings


@click.group(name="config")
def config() -> None:
    """Look at the settings of a course."""


@config.command(name="show")
@click.option(
    "-C",
    "--course-dir",
    type=PATH,
    help="The course; otherwise MOGRADER_COURSE_DIR, the working directory or the nearest above.",
)
@json_option
def show(course_dir: Path | None) -> Result:
    """Print each setting, its value and where it came from; secrets are masked."""
    loaded = load_settings(course_dir)
    rows = describe(loaded)
    for warning in loaded.warnings:
        tell(f"Warning: {warning}", err=True)
    told = {"course_dir": str(loaded.course_dir), "settings": rows, "warnings": loaded.warnings}
    return Result(told, _lines(loaded, rows))


def _lines(loaded: LoadedSettings, rows: tuple[SettingRow, ...]) -> Iterator[str]:
    yield f"# {loaded.course_dir / FILE_NAME}"
    values = [
        "(unset)" if row.value is None else dumps(row.value, ensure_ascii=False) for row in rows
    ]
    keys = max(len(row.key) for row in rows)
    width = min(40, max(len(each) for each in values))
    for row, value in zip(rows, values, strict=True):
        note = f"  ({row.note})" if row.note else ""
        yield f"{row.key:{keys}}  {value:{width}}  {row.origin}{note}"
