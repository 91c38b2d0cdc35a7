"""The record beside an environment is the sign that it is finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import NotFound
from mograder.sandbox.environments.record import RECORD, EnvironmentRecord, read_record


def test_what_was_written_is_read(tmp_path: Path) -> None:
    record = EnvironmentRecord(
        key="k", python="3.11.9", marimo="0.25.2", interpreter_roots=(Path("/opt/python"),)
    )
    (tmp_path / RECORD).write_text(record.model_dump_json())
    assert read_record(tmp_path) == record


def test_a_later_releases_record_is_read_as_well(tmp_path: Path) -> None:
    text = '{"key":"k","python":"3","marimo":"0","interpreter_roots":[],"more":1}'
    (tmp_path / RECORD).write_text(text)
    assert read_record(tmp_path).key == "k"
    assert read_record(tmp_path).assets == ""


def test_a_record_names_a_set_of_files_and_no_path(tmp_path: Path) -> None:
    text = '{"key":"k","python":"3","marimo":"0","interpreter_roots":[],"assets":"../up"}'
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(NotFound):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key":"k"}', "\0"])
def test_half_a_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(NotFound, match="no finished environment"):
        read_record(tmp_path)


def test_no_record_is_no_environment(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_record(tmp_path / "nowhere")
