"""Output on consoles that lack characters."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mograder.cli
from mograder.cli.shared.console import prepare_output, print_json


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(stream.encoding)


def test_missing_characters_become_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    out = stream("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    prepare_output()
    print("A1 → Größe, 中")
    assert written(out) == "A1 ? Gr??e, ?\n"


def test_characters_that_the_console_has_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = stream("cp1252"), stream("utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    prepare_output()
    print("Größe … →")
    print("Größe … →", file=sys.stderr)
    assert written(out) == "Größe … ?\n"
    assert written(err) == "Größe … →\n"


def test_a_name_that_is_not_utf_8_is_written_as_json_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = stream("utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    prepare_output()
    print("M\udcfcller.csv")
    print_json({"name": "M\udcfcller.csv"})
    text, as_json = written(out).splitlines()
    assert text == "M\\udcfcller.csv"
    assert json.loads(as_json) == {"name": "M\udcfcller.csv"}


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@given(value=st.recursive(st.text(), lambda each: st.dictionaries(st.text(), each)))
def test_json_means_the_same_in_every_encoding(encoding: str, value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return  # a half of a surrogate pair, which no file in UTF-8 has
    out, before = stream(encoding), sys.stdout
    sys.stdout = out
    try:
        print_json(value)
    finally:
        sys.stdout = before
    assert json.loads(written(out)) == value


def test_json_is_readable_where_the_console_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out = stream("utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    print_json({"title": "Größe"})
    assert written(out) == '{"title": "Größe"}\n'


def test_no_command_writes_its_json_past_the_encoding_of_the_console() -> None:
    sources = (Path(mograder.cli.__file__).parent).rglob("*.py")
    past = [path.name for path in sources if "echo(json.dumps(" in path.read_text("utf-8")]
    assert past == ["console.py"]


def test_records_times_and_paths_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True, slots=True)
    class Handed:
        path: Path
        at: datetime | None

    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    print_json({"files": (Handed(Path("a.py"), at), Handed(Path("b.py"), None))})
    assert json.loads(capsys.readouterr().out) == {
        "files": [
            {"path": "a.py", "at": "2026-11-21T12:00:00+00:00"},
            {"path": "b.py", "at": None},
        ]
    }
    with pytest.raises(TypeError, match="a result has a set"):
        print_json({"names": {"a"}})
