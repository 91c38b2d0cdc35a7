"""The title of a notebook."""

from __future__ import annotations

import pytest

from mograder.notebook.title import LONGEST, title_of


def _notebook(*markdown: str, header: str = "") -> str:
    cells = "".join(
        f'@app.cell\ndef _(mo):\n    mo.md(r"""\n    {text}\n    """)\n    return\n\n\n'
        for text in markdown
    )
    return f"{header}import marimo\n\napp = marimo.App()\n\n\n{cells}"


def _header(line: str) -> str:
    return f'# /// script\n# dependencies = ["marimo"]\n# [tool.mograder]\n# {line}\n# ///\n'


@pytest.mark.parametrize(
    ("markdown", "title"),
    [
        (("Welcome.", "# Measuring *pi*", "# Another"), "Measuring pi"),
        (("## With `code` and a [link](https://example.org) ##",), "With code and a link"),
        (("# snake_case stays",), "snake_case stays"),
        (("No heading, #hashtag",), ""),
        (("# " + "x" * 300,), "x" * LONGEST),
    ],
)
def test_the_first_heading_is_the_title_without_its_markup(
    markdown: tuple[str, ...], title: str
) -> None:
    assert title_of(_notebook(*markdown)) == title


def test_a_title_in_the_header_comes_first() -> None:
    header = _header('title = "Experiments  with pi"')
    assert title_of(_notebook("# Measuring", header=header)) == "Experiments with pi"


@pytest.mark.parametrize("header", [_header("title = 3"), _header("no toml"), _header("x = 1")])
def test_a_header_that_cannot_be_read_gives_no_title(header: str) -> None:
    assert title_of(_notebook("# Measuring", header=header)) == "Measuring"


def test_what_is_no_python_has_no_title() -> None:
    assert title_of("def (") == ""
