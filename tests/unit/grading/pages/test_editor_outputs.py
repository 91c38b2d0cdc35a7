"""What an open notebook shows, shown to somebody who looks at a check."""

from __future__ import annotations

import hashlib
import json

import pytest

from mograder.core.errors import InvalidInput
from mograder.grading.pages.editor_outputs import render_editor_outputs

CODE = ("x = 1\nx", "print(x)", 'check("Q1: it", [(x > 1, "too small")])', "1 / 0")
TEXT = "import marimo\n\napp = marimo.App()\n" + "".join(
    f"\n\n@app.cell\ndef _():\n{''.join(f'    {line}{chr(10)}' for line in code.split(chr(10)))}"
    "    return\n"
    for code in CODE
)
IMAGE = "data:image/png;base64,iVBORw0KGgo="
HOSTILE = '<b>1</b><script>alert(1)</script><img src="https://evil.example/x" onerror="y()">'


def ran(code: str, outputs: list[object], console: list[object]) -> dict[str, object]:
    """A cell as marimo exports it."""
    digest = hashlib.md5(code.encode(), usedforsecurity=False).hexdigest()
    return {"id": "Hbol", "code_hash": digest, "outputs": outputs, "console": console}


def data(kind: str, value: object) -> dict[str, object]:
    """An output as marimo exports it."""
    return {"type": "data", "data": {kind: value}}


def printed(text: str, kind: str | None = "text/plain") -> dict[str, object]:
    """A printed text as marimo exports it."""
    return {"type": "stream", "name": "stdout", "text": text, "mimetype": kind}


def page(*cells: dict[str, object], indexes: frozenset[int] = frozenset({0})) -> str:
    """The page about the check Q1, from an export with these cells."""
    session = json.dumps({"version": "1", "metadata": {}, "cells": cells})
    exported = f'<script>config = {{"session": {session}, "code": "\\"session\\": 1"}}</script>'
    return render_editor_outputs(TEXT, "A1.py", exported.encode(), indexes, "Q1: it")


def test_a_checks_cells_are_shown_with_what_they_put_out() -> None:
    check = ran(CODE[2], [data("text/html", HOSTILE)], [printed("one "), printed("line")])
    found = page(ran(CODE[0], [data("text/plain", "forty<2")], []), check)
    assert "forty&lt;2" in found
    assert "<b>1</b>" in found
    assert "one line" in found
    assert "print(" not in found
    for each in ("<script", "evil.example", "onerror"):
        assert each not in found


def test_an_output_belongs_to_the_code_that_ran() -> None:
    found = page(ran("x = 7", [data("text/plain", "7")], []), ran(CODE[2], [], []))
    assert "The editor shows no output of this cell as it is now." in found
    assert ">7<" not in found


def test_a_value_in_several_formats_is_shown_as_its_image() -> None:
    bundle = json.dumps({"text/plain": "Figure", "image/png": IMAGE})
    found = page(ran(CODE[0], [data("application/vnd.marimo+mimebundle", bundle)], []))
    assert f'src="{IMAGE}"' in found
    assert "Figure" not in found


def test_an_error_and_its_traceback_are_shown() -> None:
    error = {"type": "error", "ename": "exception", "evalue": "division by zero", "traceback": []}
    trace = printed('<span class="codehilite">line 1</span>', "application/vnd.marimo+traceback")
    found = page(ran(CODE[3], [error], [trace]), indexes=frozenset({3}))
    assert "<strong>Exception</strong>" in found
    assert "division by zero" in found
    assert "line 1" in found


def test_a_password_that_was_typed_is_not_shown() -> None:
    assert "hunter2" not in page(ran(CODE[0], [], [printed("hunter2", "text/password")]))


@pytest.mark.parametrize(
    "session",
    ["", "[]", '{"cells": 3}', '{"cells": [{"code_hash": 1}]}', '{"cells": []}', "[" * 200_000],
)
def test_the_cells_are_shown_without_outputs_where_the_export_is_not_marimos(session: str) -> None:
    exported = f'{{"session": {session}'.encode()
    found = render_editor_outputs(TEXT, "A1.py", exported, frozenset({0}), "Q1: it")
    assert found.count("The editor shows no output of this cell as it is now.") == 2
    assert '<pre class="output"' not in found


def test_a_text_that_is_no_notebook_is_shown_as_it_is() -> None:
    assert "x = (" in render_editor_outputs("x = (", "A1.py", b"", frozenset({0}), "Q1: it")


def test_outputs_that_fill_the_memory_of_who_reads_them_are_refused() -> None:
    """Each "<" becomes four characters: an export of 16 MB was a page of 64 MB."""
    outputs: list[object] = [data("text/plain", "<" * 200_000)] * 50
    with pytest.raises(InvalidInput, match="too large"):
        page(ran(CODE[2], outputs, []))
    assert "&lt;" in page(ran(CODE[2], outputs[:10], []))
