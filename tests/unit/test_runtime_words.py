"""Counting the words of a written answer (compatibility-0.3.16.md 8)."""

from __future__ import annotations

from pathlib import Path

import marimo as mo
import pytest

from mograder.runtime import count_response_words, word_count

_NOTEBOOK = '''
@app.cell
def other(mo):
    mo.md("""far longer than the answer that is to be counted here""")

@app.cell
async def written_analysis(mo):
    mo.md(r"""
    The error falls as $1 / \\sqrt{n}$, so
    $$ a = b + c $$
    holds.
    """)
    print("x")
'''


def test_words_of_the_written_answer_are_counted_with_formulas_as_one() -> None:
    # The error falls as F , so F holds.: the comma stands alone, as it did in 0.3.16.
    assert count_response_words(_NOTEBOOK) == 9
    assert count_response_words(_NOTEBOOK, "other") == 11


@pytest.mark.parametrize("source", ["", "def other(): pass", "def written_analysis(:", "\0"])
def test_no_such_cell_counts_nothing(source: str) -> None:
    assert count_response_words(source) is None


def test_a_cell_without_text_has_no_words() -> None:
    assert count_response_words("def written_analysis(): return 1") == 0


@pytest.mark.parametrize(
    ("target", "colour", "words"),
    [
        ((5, 10), "#2e8b57", "within the target"),
        ((9, 9), "#2e8b57", "within the target"),
        ((109, 200), "#e08e0b", "100 too few"),
        ((110, 200), "#d9363e", "101 too few"),
        ((1, 8), "#e08e0b", "1 too many"),
    ],
)
def test_the_word_count_says_in_words_what_its_colour_says(
    tmp_path: Path, target: tuple[int, int], colour: str, words: str
) -> None:
    notebook = tmp_path / "A1.py"
    notebook.write_text(_NOTEBOOK)
    shown = word_count(str(notebook), target=target).text
    assert "Word count: 9" in shown
    assert colour in shown
    assert words in shown
    assert word_count(notebook, target=target).text == shown
    assert word_count(mo.watch.file(notebook), target=target).text == shown


def test_a_watched_notebook_is_read_as_utf_8_on_windows_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = tmp_path / "A1.py"
    quoted = _NOTEBOOK.replace("holds", "holds\N{RIGHT DOUBLE QUOTATION MARK}")
    notebook.write_text(quoted, "utf-8")
    watched, plain = mo.watch.file(notebook), Path.read_text

    def read_text(path: Path, encoding: str = "cp1252") -> str:
        return plain(path, encoding)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert "Word count: 9" in word_count(watched).text


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_notebook_has_no_word_count(tmp_path: Path, content: bytes | None) -> None:
    notebook = tmp_path / "A1.py"
    if content is not None:
        notebook.write_bytes(content)
    shown = word_count(notebook, cell="<b>").text
    assert "Word count unavailable: no cell named &lt;b&gt;." in shown
