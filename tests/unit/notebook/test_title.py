"""The title of a notebook."""

from __future__ import annotations

import time

import pytest

from mograder.notebook.title import LONGEST, headings_of, title_of


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
        ((r"# Measuring $\pi$ and $\Delta x$",), "Measuring π and Δx"),
        ((r"# $\lambda$, $\varepsilon^2$, $\sqrt{2}$, $5 or 10$",), "λ, ε^2, sqrt {2}, 5 or 10"),
        (("# From $5 to $10",), "From $5 to $10"),
        (("No heading, #hashtag",), ""),
        (("# " + "x" * 300,), "x" * LONGEST),
    ],
)
def test_the_first_heading_is_the_title_without_its_markup(
    markdown: tuple[str, ...], title: str
) -> None:
    assert title_of(_notebook(*markdown)) == title


def test_headings_keep_their_brackets_and_are_told_of_texts_with_values_in_them() -> None:
    code = 'mo.md(f"""\n## Analysis (15 marks)\n\n### Of {name} ##\n""")\nmo.md(text)'
    assert headings_of(code) == ["Analysis (15 marks)", "Of …"]


@pytest.mark.parametrize(
    "block",
    [
        *("```python\n# read it\n```", "~~~\n# read it\n~~~", "````\n```\n# read it\n````"),
        *("- First:\n\n    ```\n    # read it\n    ```", "Begin:\n\n    # read it"),
    ],
)
def test_a_comment_in_the_code_of_a_text_is_no_heading(block: str) -> None:
    code = 'mo.md(r"""\n## Question 4\n\n{}\n\n### Its data\n""")'
    assert headings_of(code.format(block)) == ["Question 4", "Its data"]


def test_code_that_does_not_end_has_no_headings_and_code_in_a_line_ends_there() -> None:
    assert headings_of('mo.md("""# A\n```\n# b\n""")') == ["A"]
    assert headings_of('mo.md("""# A\n```b``` is code.\n# C\n""")') == ["A", "C"]


def test_a_heading_may_stand_as_far_to_the_right_as_the_code_around_it() -> None:
    assert headings_of('mo.md("""# A\n        ## B\n        text\n    """)') == ["A", "B"]


def test_a_heading_that_was_made_to_be_slow_is_not() -> None:
    started = time.perf_counter()
    for filling in ("[", " ", "# ", "$x ", "\\\\a"):
        headings_of(f'mo.md("# x{filling * 100_000}x")')
    for filling in ("```\n", "~~~\n", "`", "~", " ", "```` x\n``` y\n", "```a\n"):
        headings_of(f'mo.md("""```\n{filling * 50_000}x""")')
        headings_of(f'mo.md("""{filling * 50_000}x""")')
    assert time.perf_counter() - started < 5


def test_a_title_in_the_header_comes_first() -> None:
    header = _header('title = "Experiments  with pi"')
    assert title_of(_notebook("# Measuring", header=header)) == "Experiments with pi"


@pytest.mark.parametrize("header", [_header("title = 3"), _header("no toml"), _header("x = 1")])
def test_a_header_that_cannot_be_read_gives_no_title(header: str) -> None:
    assert title_of(_notebook("# Measuring", header=header)) == "Measuring"


def test_what_is_no_python_has_no_title() -> None:
    assert title_of("def (") == ""
