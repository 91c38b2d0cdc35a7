"""The text of cells that marimo's page could not save: as marimo would have saved them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.errors import InvalidInput
from mograder.notebook import saved_cells
from mograder.notebook.cells import parse_cells
from mograder.notebook.parsing import check_notebook, parse_marimo
from mograder.notebook.saved_cells import SavedCells, write_saved_cells
from tests.unit.notebook.strategies import TEXTS

HEADER = '# /// script\n# dependencies = ["marimo"]\n#\n# [tool.mograder]\n# x = 1\n# ///\n\n'
PRESENT = f"""{HEADER}import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    x = 1
    return (x,)


@app.cell(hide_code=True)
def shown(x):
    x + 1
    return


if __name__ == "__main__":
    app.run()
"""


def body(codes: list[str], names: list[str] | None = None, configs: object = None) -> str:
    """The body of a save."""
    names = ["_"] * len(codes) if names is None else names
    configs = [{}] * len(codes) if configs is None else configs
    return json.dumps({"codes": codes, "names": names, "configs": configs})


def written(sent: str, present: str = PRESENT) -> str:
    """The text that is made of it."""
    return write_saved_cells(SavedCells(sent, present, "A1.py")).text


def test_the_cells_that_are_there_make_the_text_that_is_there() -> None:
    sent = body(["x = 1", "x + 1"], ["_", "shown"], [{"column": None}, {"hide_code": True}])
    assert written(sent) == PRESENT


def test_it_is_what_marimo_itself_writes() -> None:
    codes = ["import math", "x = math.pi\ny = (", "def f(a):\n    return a", "print('é')"]
    text = written(body(codes, ["_", "b", "f", "_"]))
    check_notebook(text, "A1.py")
    assert [cell.code.strip() for cell in parse_cells(text, "A1.py").cells] == codes


def test_header_and_options_come_from_the_present_text() -> None:
    assert written(body(["1"])).startswith(HEADER)
    assert 'marimo.App(width="medium")' in written(body(["1"]))


def test_of_a_broken_text_the_comments_at_its_beginning_stay() -> None:
    text = written(body(["1"]), f"{HEADER}x = (\n# not this\n")
    assert text.startswith(HEADER)
    assert "not this" not in text


@pytest.mark.parametrize("name", ["a b", "x():\n    import os\ndef y", "", "1a", "a-b"])
def test_a_name_that_python_does_not_accept_is_left_out(name: str) -> None:
    assert [cell.name for cell in parse_cells(written(body(["1"], [name])), "A1.py").cells] == ["_"]


@pytest.mark.parametrize(
    "config", [None, 7, [], {"column": "1)"}, {"hide_code": 1}, {"disabled": "x"}, {"other": 1}]
)
def test_settings_of_another_type_are_left_out(config: object) -> None:
    [cell] = parse_cells(written(body(["1"], None, [config])), "A1.py").cells
    assert (cell.hidden, cell.disabled) == (False, False)


KNOWN = ["x = 1", "x + 1"]
"""The codes of the present cells."""

NAMES, CONFIGS = ["_", "shown"], [{}, {"hide_code": True}]


@pytest.mark.parametrize(
    ("codes", "base", "follows", "lines"),
    [
        (KNOWN, KNOWN, True, 0),
        (KNOWN, None, False, 0),
        (["x = 1", "x + 1\ny = 2\nz = 3"], KNOWN, True, 2),
        (["x = 2", "x + 1"], KNOWN, True, 1),
        (["x = 1", ""], KNOWN, True, 1),
        (["x + 1", "x = 1"], KNOWN, True, 1),
        (["x = 2", "x + 1"], ["x = 0", "x + 1"], False, 1),
        (["x = 2", "x + 1"], None, False, 1),
        (["x = 1"], ["x = 1"], False, 0),
        (["x = 2", "x + 1"], "not a list", False, 1),
        (["x = 1\n", "x + 1\ny = 2\n\n"], ["\nx = 1\n", "x + 1"], True, 1),
    ],
)
def test_lines_that_the_notebook_lacks_are_counted_and_whether_it_was_changed_meanwhile(
    codes: list[str], base: object, follows: bool, lines: int
) -> None:
    sent = json.loads(body(codes, NAMES[: len(codes)], CONFIGS[: len(codes)])) | {"base": base}
    found = write_saved_cells(SavedCells(json.dumps(sent), PRESENT, "A1.py"))
    assert (found.follows, found.lines) == (follows, lines)


@pytest.mark.parametrize(
    "typed", ["x = 1\n\n", 'x = "\xa0"', 'mo.md("text")', 'mo.md(""" text """)']
)
def test_what_marimo_has_written_in_its_own_form_was_not_changed_by_anybody(typed: str) -> None:
    """Its page goes on to send what was typed, until it is loaded anew."""
    before, after = (
        json.loads(body([typed, last], NAMES, CONFIGS)) for last in ("y = 1", "y = 1\nz = 2")
    )
    present = written(json.dumps(before))
    assert parse_marimo(present, "A1.py").cells[0].code != typed
    sent = json.dumps(after | {"base": before["codes"]})
    found = write_saved_cells(SavedCells(sent, present, "A1.py"))
    assert (found.follows, found.lines) == (True, 1)


def test_what_was_saved_before_is_codes_or_the_whole_is_refused() -> None:
    sent = json.dumps(json.loads(body(KNOWN, NAMES, CONFIGS)) | {"base": [1, "x + 1"]})
    with pytest.raises(InvalidInput, match="not what marimo's page saves"):
        written(sent)


def test_work_is_put_into_no_text_that_cannot_be_read() -> None:
    sent = json.loads(body(["x = 2"])) | {"base": []}
    found = write_saved_cells(SavedCells(json.dumps(sent), "x = (", "A1.py"))
    assert (found.follows, found.lines) == (False, 1)


def test_a_title_that_marimo_would_write_as_no_python_has_other_quotes() -> None:
    present = PRESENT.replace('width="medium"', "app_title='Say \"hi\"'")
    assert "App(app_title=\"Say 'hi'\")" in written(body(["x = 1\ny = 2"]), present)


@pytest.mark.parametrize("character", ["\0", "\ud83d"])
def test_what_no_file_can_hold_is_replaced_and_the_rest_of_the_cell_is_kept(character: str) -> None:
    """marimo cannot save such a text, so that all that is typed after it is unsaved."""
    text = written(body([f"x = 'a{character}b'", "y = '\U0001f600'"]), PRESENT)
    compile(text, "A1.py", "exec")
    assert "x = 'a\ufffdb'" in text
    assert "y = '\U0001f600'" in text


def test_a_cell_that_marimo_cannot_compile_is_kept_with_the_others() -> None:
    """marimo fails to save the whole notebook then, so that all that is typed is unsaved."""
    long = "x = (\n    1\n" + "    + 2\n" * 2000 + ")"
    codes = ["import math", long, f'"""told"""\n{long}', "y = ("]
    text = written(body(codes, ["_", "long", "__", "b"], [{}, {"hide_code": True}, {}, {}]))
    check_notebook(text, "A1.py")
    cells = parse_cells(text, "A1.py").cells
    assert [cell.code.strip() for cell in cells] == codes
    assert [cell.name for cell in cells] == ["_", "long", "_", "b"]
    assert [cell.hidden for cell in cells] == [False, True, False, False]
    assert written(body(codes, ["_", "long", "__", "b"])) == written(
        body(codes, ["_", "long", "_", "b"])
    )


def test_a_cell_that_marimo_writes_in_an_unknown_form_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Saved would be what stands for it, and the student's code would be lost."""
    monkeypatch.setattr(saved_cells, "generate_unparsable_cell", lambda *_: "another form")
    long = "x = (\n    1\n" + "    + 2\n" * 2000 + ")"
    with pytest.raises(InvalidInput, match="marimo cannot write it"):
        written(body([long, "y = 1"]))


@given(st.lists(TEXTS, max_size=4), st.one_of(TEXTS, st.just(PRESENT)))
def test_any_codes_make_a_text_with_as_many_cells_or_are_refused(
    codes: list[str], present: str
) -> None:
    try:
        text = written(body(codes), present)
    except InvalidInput:
        return
    text.encode()
    if present == PRESENT:
        compile(text, "A1.py", "exec")  # whatever a cell holds, it stays in its cell
