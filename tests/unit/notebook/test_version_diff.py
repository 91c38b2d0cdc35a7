"""The difference between two versions: which cell became which, and which lines."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.notebook.cell_pairs import match_cells, moved_cells
from mograder.notebook.cells import parse_cells
from mograder.notebook.version_diff import (
    CellChange,
    CellDifference,
    LineChange,
    VersionDifference,
    lines_changed,
    told_difference,
    version_difference,
)
from tests.unit.notebook.strategies import TEXTS, damaged, notebooks

SEED = 20_261_123


def cell(code: str, name: str = "_", decorator: str = "@app.cell") -> str:
    """A cell as marimo writes it."""
    body = "".join(f"    {line}\n" for line in code.split("\n"))
    return f"{decorator}\ndef {name}():\n{body}    return\n"


def notebook(*cells: str, header: str = "") -> str:
    body = "\n\n".join(cells)
    end = 'if __name__ == "__main__":\n    app.run()\n'
    return f"{header}import marimo\n\napp = marimo.App()\n\n\n{body}\n\n{end}"


MEAN = cell("def mean(xs):\n    return sum(xs) / len(xs)", "first")
PLOT = cell("print('a plot')\nprint('of something')")
TEXT = cell("mo.md('Some text about what follows, which is long enough')")
ANSWER = cell("# YOUR CODE HERE\npass")


def changes(difference: VersionDifference) -> list[tuple[str, int | None, int | None]]:
    """What became of each cell."""
    return [(str(each.change), each.before, each.after) for each in difference.cells]


def shown(found: CellDifference) -> list[str]:
    """A cell's lines with what became of them in front."""
    signs = {
        LineChange.SAME: " ",
        LineChange.ADDED: "+",
        LineChange.REMOVED: "-",
        LineChange.FOLDED: "~",
    }
    return [signs[line.change] + line.text for line in found.lines]


def test_the_same_text_has_no_difference() -> None:
    text = notebook(MEAN, PLOT, TEXT)
    assert version_difference(text, text).none


def test_a_changed_line_is_shown_between_its_neighbours() -> None:
    earlier = cell("a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\ng = 7")
    later = cell("a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\ng = 8")
    [found] = version_difference(notebook(earlier), notebook(later)).cells
    assert shown(found) == ["~3", " d = 4", " e = 5", " f = 6", "-g = 7", "+g = 8"]
    assert (found.change, found.line) == (CellChange.CHANGED, 6)


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [
        ([MEAN, PLOT], [MEAN, TEXT, PLOT], [("same", 0, 0), ("added", None, 1), ("same", 1, 2)]),
        ([MEAN, TEXT, PLOT], [MEAN, PLOT], [("same", 0, 0), ("removed", 1, None), ("same", 2, 1)]),
        ([MEAN], [], [("removed", 0, None)]),
        ([], [MEAN], [("added", None, 0)]),
        ([PLOT, PLOT], [PLOT], [("same", 0, 0), ("removed", 1, None)]),
    ],
)
def test_cells_come_and_go(
    earlier: list[str], later: list[str], expected: list[tuple[str, int | None, int | None]]
) -> None:
    assert changes(version_difference(notebook(*earlier), notebook(*later))) == expected


def test_a_moved_cell_is_the_one_that_moved() -> None:
    found = version_difference(notebook(MEAN, PLOT, TEXT), notebook(PLOT, TEXT, MEAN))
    assert [(each.name, each.moved) for each in found.cells] == [
        ("", False),
        ("", False),
        ("first", True),
    ]
    assert (found.moved, found.count(CellChange.SAME), len(found.differing)) == (1, 3, 1)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param(cell("x = 1", "mine"), cell("y = [5, 6]\nz = y", "mine"), id="by name"),
        pytest.param(cell("x = 1"), cell("x = sum(range(20))\nprint(x)"), id="by what it defines"),
        pytest.param(PLOT, cell("print('a plot')\nprint('of nothing')"), id="by its lines"),
        pytest.param(cell("print(3)"), cell("print(4)"), id="by its characters"),
        pytest.param(cell("1 + 1"), cell("1 + 1 + sum(range(100)) - abs(-5)"), id="as a part"),
        pytest.param(ANSWER, cell("print([n for n in range(9)])"), id="by its place"),
        pytest.param(
            cell("x = 1"), cell("x = 1", decorator="@app.cell(hide_code=True)"), id="hidden"
        ),
        pytest.param(
            cell("def f(x):\n    return x"),
            "@app.function\ndef f(x):\n    return x\n",
            id="another kind",
        ),
    ],
)
def test_a_cell_is_known_again(earlier: str, later: str) -> None:
    found = version_difference(notebook(TEXT, earlier, MEAN), notebook(TEXT, later, MEAN))
    assert [(each.before, each.after) for each in found.cells] == [(0, 0), (1, 1), (2, 2)]


def test_a_cell_that_is_changed_and_moved_is_both() -> None:
    later = cell("def mean(xs):\n    return 0", "first")
    found = version_difference(notebook(MEAN, PLOT, TEXT), notebook(PLOT, TEXT, later))
    [changed] = [each for each in found.cells if each.change is CellChange.CHANGED]
    assert (changed.before, changed.after, changed.moved) == (0, 2, True)


def test_another_name_and_a_hidden_code_are_shown() -> None:
    later = cell("x = 1", "better", "@app.cell(hide_code=True)")
    [found] = version_difference(notebook(cell("x = 1", "good")), notebook(later)).cells
    assert shown(found) == ["-# named good", "+# named better", "+# hidden", " x = 1"]


def test_a_header_that_differs_is_shown_and_marimos_version_is_not() -> None:
    earlier = notebook(MEAN, header='# title: "a"\n').replace(
        "app =", '__generated_with = "1"\napp ='
    )
    later = notebook(MEAN, header='# title: "b"\n').replace(
        "app =", '__generated_with = "2"\napp ='
    )
    found = version_difference(earlier, later)
    assert [line.text for line in found.outside if line.change is not LineChange.SAME][:2] == [
        '# title: "a"',
        '# title: "b"',
    ]
    assert "__generated_with" not in str(found.outside)


def test_what_is_no_notebook_is_compared_by_lines() -> None:
    found = version_difference("x = (1\n", notebook(MEAN))
    assert not found.cells
    assert found.outside[0].text == "x = (1"
    assert "the earlier version:1:" in found.problem


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\n" * 50_000, "y\n" * 50_000),
        ("", f"{'y' * 100_000}\n" * 3),
        (notebook(), notebook(*[cell("x = 1", "z" * 5_000)] * 500)),
    ],
)
def test_what_is_told_of_a_difference_is_bounded(before: str, after: str) -> None:
    found = told_difference(before, after)
    assert found.cut
    assert len(str(found)) < 500_000


def test_a_difference_of_a_usual_size_is_told_whole() -> None:
    texts = notebook(MEAN, PLOT, header="# a\n"), notebook(PLOT, TEXT, header="# b\n")
    found, told = version_difference(*texts), told_difference(*texts)
    assert told.cells == found.differing
    assert (told.outside, told.problem, told.cut) == (found.outside, found.problem, False)


def test_lines_are_counted_without_order() -> None:
    assert lines_changed("a\nb\nb\r\n", "b\nc\na") == (1, 1)
    assert lines_changed("", "\r\r\n") == (2, 0)
    assert lines_changed("a\n", "a") == (0, 0)


@given(st.one_of(TEXTS, damaged(), notebooks()), st.one_of(TEXTS, damaged(), notebooks()))
def test_any_two_texts_have_a_difference_that_holds_every_line(before: str, after: str) -> None:
    found = version_difference(before, after)
    for each in found.cells:
        assert (each.before is None) == (each.change is CellChange.ADDED)
        assert (each.after is None) == (each.change is CellChange.REMOVED)
    if not found.problem:
        old, new = parse_cells(before, "a").cells, parse_cells(after, "b").cells
        assert sorted(e.before for e in found.cells if e.before is not None) == [
            c.index for c in old
        ]
        assert [e.after for e in found.cells if e.after is not None] == [c.index for c in new]


def test_of_cells_that_were_alike_the_one_that_was_changed_is_told() -> None:
    mine = cell("# YOUR CODE HERE\nplt.plot(1)")
    found = version_difference(
        notebook(TEXT, ANSWER, MEAN, ANSWER, PLOT), notebook(TEXT, mine, MEAN, ANSWER, PLOT)
    )
    assert [(each.change, each.before, each.after) for each in found.differing] == [
        (CellChange.CHANGED, 1, 1)
    ]


@given(notebooks(), notebooks())
def test_cells_are_matched_once_and_into_both_notebooks(before: str, after: str) -> None:
    try:
        old, new = parse_cells(before, "a").cells, parse_cells(after, "b").cells
    except Exception:  # noqa: BLE001  # some of these are refused, which other tests are about
        return
    pairs = match_cells(old, new)
    assert len(set(pairs.values())) == len(pairs)
    assert set(pairs) <= set(range(len(old)))
    assert set(pairs.values()) <= set(range(len(new)))
    stayed = [pairs[index] for index in sorted(set(pairs) - moved_cells(pairs))]
    assert stayed == sorted(stayed)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["cells", "lines", "characters", "names"])
def test_a_hostile_pair_of_texts_takes_no_long_time(kind: str) -> None:
    chance = random.Random(SEED)
    before, after = (hostile(kind, chance) for _ in range(2))
    begun = time.process_time()
    version_difference(before, after)
    assert time.process_time() - begun < 15  # seconds; without bounds it takes minutes


def hostile(kind: str, chance: random.Random) -> str:
    """A notebook whose parts resemble each other as much as possible."""
    match kind:
        case "cells":
            return notebook(*(cell(chance.choice(["x", "y"])) for _ in range(3000)))
        case "lines":
            lines = [chance.choice(["x", "y"]) for _ in range(20_000)]
            return notebook(
                *(cell("\n".join(lines[at : at + 2000])) for at in range(0, 20_000, 2000))
            )
        case "characters":
            spelled = ("".join(chance.choice("ab") for _ in range(390)) for _ in range(300))
            return notebook(*map(cell, spelled))
    return notebook(*(cell(f"v{chance.randrange(300)} = {n}") for n in range(600)))
