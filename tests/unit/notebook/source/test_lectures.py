"""``generate --lecture``: links between notebooks, and the kind in the header (B70, B113)."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.pep723 import read_kind
from mograder.notebook.source.lectures import linked_items, mode_by_initial, to_lecture

NOTEBOOK = """\
# /// script
# dependencies = []
# ///

import marimo

app = marimo.App(width="medium")


@app.cell
def _(mo):
    mo.md("LINK")
    return
"""


def lecture(text: str) -> str:
    return to_lecture(text, filename="L01.py", mode_of=mode_by_initial)


def link(markdown: str) -> str:
    made = lecture(NOTEBOOK.replace('"LINK"', f"'{markdown}'"))
    return next(line for line in made.split("\n") if "mo.md" in line).strip()[7:-2]


@pytest.mark.parametrize("base", ["https://hub.example", "https://example.org/~ada/hub"])
@pytest.mark.parametrize(("name", "mode"), [("L02-More", "run"), ("A1-Pi", "edit")])
def test_a_link_works_below_every_prefix(base: str, name: str, mode: str) -> None:
    page = f"{base}/run/user/ada/L01/"
    address = link(f"[next](../{name}/{name}.py)").partition("](")[2].rstrip(")")
    assert urljoin(page, address) == f"{base}/{mode}/{name}/"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[x](../L2/L2.py)", "[x](../../../../run/L2/)"),
        ("[x](./L2/L2.py#top)", "[x](../../../../run/L2/#top)"),
        ("[x](../A2/A2.py?a=b)", "[x](../../../../edit/A2/?a=b)"),
        ('[x](../A2/A2.py "A title")', '[x](../../../../edit/A2/ "A title")'),
        ("[x](<../A2/A2.py>)", "[x](<../../../../edit/A2/>)"),
        ("[![i](i.png)](../L2/L2.py)", "[![i](i.png)](../../../../run/L2/)"),
        ("[a](../L2/L2.py) [b](../A2/A2.py)", "[a](../../../../run/L2/) [b](../../../../edit/A2/)"),
        ("[x]: ../L2/L2.py", "[x]: ../../../../run/L2/"),
        ('<a href="../L2/L2.py">', '<a href="../../../../run/L2/">'),
        ("[x](<../L 2 (b)/L 2 (b).py>)", "[x](<../../../../run/L 2 (b)/>)"),
        ("[x](../A%202/A%202.py)", "[x](../../../../edit/A%202/)"),
        ('<a href="../L 2 (b)/L 2 (b).py">', '<a href="../../../../run/L 2 (b)/">'),
    ],
)
def test_a_link_to_a_notebook_becomes_one_to_its_page(before: str, after: str) -> None:
    assert link(before) == after


@pytest.mark.parametrize(
    "markdown",
    [
        *("[x](../X2/X2.py)", "[x](../L2/other.py)", "[x](../L2/L2.pyc)", "[x](../L2/L2.csv)"),
        *("[x](https://e.org/L2/L2.py)", "![x](../L2/x.png)", "../L2/L2.py", "[x](../../L2/L2.py)"),
    ],
)
def test_another_link_stays(markdown: str) -> None:
    assert link(markdown) == markdown


def test_linked_items_are_told_once_each() -> None:
    text = "[x](../L2/L2.py) [y](../A1/A1.py) [z](../L2/L2.py)"
    assert linked_items(text) == ("L2", "A1")
    assert linked_items("[x](<../Ü 1/Ü 1.py>) [y](../%C3%9C%201/%C3%9C%201.py)") == ("Ü 1",)


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ('marimo.App(width="full", layout_file="a.json")', 'marimo.App(width="full")'),
        ('marimo.App(layout_file="a.json", width="full")', 'marimo.App(width="full")'),
        ('marimo.App(layout_file="a.json")', "marimo.App()"),
        ('marimo.App(layout_file="a", html_head_file="b",)', "marimo.App()"),
        (
            'marimo.App(\n    # it\n    width="full",\n    layout_file="ü",\n    css_file="c",\n)',
            'marimo.App(\n    # it\n    width="full",\n    css_file="c",\n)',
        ),
        ('marimo.App(app_title="layout_file=")', 'marimo.App(app_title="layout_file=")'),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_that_are_not_published_are_taken_out_of_the_options(
    call: str, after: str, end: str
) -> None:
    before = NOTEBOOK.replace('marimo.App(width="medium")', call).replace("\n", end)
    expected = lecture(NOTEBOOK).replace('marimo.App(width="medium")', after).replace("\n", end)
    assert lecture(before) == expected


def test_the_kind_is_in_the_block_also_when_there_was_none() -> None:
    assert read_kind(lecture(NOTEBOOK)) == "lecture"
    bare = NOTEBOOK.partition("# ///\n\n")[2]
    assert read_kind(lecture(bare)) == "lecture"
    assert lecture(bare).endswith(bare)


def test_a_lecture_with_a_solution_is_refused_because_it_would_be_published() -> None:
    text = NOTEBOOK.replace(
        "    return", "    ### BEGIN SOLUTION\n    ### END SOLUTION\n    return"
    )
    with pytest.raises(InvalidInput, match=r"^L01\.py:13: a SOLUTION block in a lecture"):
        lecture(text)


def test_what_is_no_notebook_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^L01\.py:1: "):
        lecture("x = 1\n")


def test_a_layout_that_goes_along_stays_in_the_options() -> None:
    call = 'marimo.App(layout_file="./layouts/L1.grid.json", html_head_file="head.html")'
    text = NOTEBOOK.replace('marimo.App(width="medium")', call)
    kept = ("layouts/L1.grid.json",)
    made = to_lecture(text, filename="L1.py", mode_of=lambda _: None, kept=kept)
    assert 'marimo.App(layout_file="./layouts/L1.grid.json")' in made
