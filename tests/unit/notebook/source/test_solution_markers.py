"""The marks around what students must not see; more of them are in the corpus.

See compatibility-0.3.16.md 7.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.source.solution_markers import Block, BlockKind, find_blocks

HEAD = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n"


def blocks(*lines: str) -> tuple[Block, ...]:
    return find_blocks(HEAD + "".join(f"    {line}\n" for line in lines) + "    return\n", "A1.py")


def test_blocks_come_in_order_with_their_lines() -> None:
    found = blocks(
        *("### BEGIN SOLUTION", "x = 1", "### END SOLUTION", "y = 2"),
        *("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"),
    )
    assert found == (Block(BlockKind.SOLUTION, 8, 10), Block(BlockKind.HIDDEN, 12, 13))


def test_a_mark_counts_at_any_indent_and_with_space_behind_it() -> None:
    assert blocks("if x:", "    ### BEGIN SOLUTION  ", "    pass", "### END SOLUTION\t")


@pytest.mark.parametrize(
    "line",
    [
        *("# The solution begins here.", "# end of the hidden tests", "## Solution", "# SOLUTION"),
        *("# BEGINNING", "### Begin with one", "x = '### BEGIN SOLUTION'", "# begin solution of 2"),
        *("### BEGIN", "### TESTS", "# see BEGIN SOLUTION", "print('### END SOLUTION')  # why"),
    ],
)
def test_a_remark_is_no_mark(line: str) -> None:
    assert blocks(line) == ()


@pytest.mark.parametrize(
    "line",
    [
        *("### begin solution", "###BEGIN SOLUTION", "## BEGIN SOLUTION", "#### BEGIN SOLUTION"),
        *("# BEGIN SOLUTION", "#BEGIN SOLUTION", "### BEGIN SOLUTION:", "### BEGIN  SOLUTION"),
        *("### BEGIN_SOLUTION", "### BEGIN-SOLUTION", "### BeginSolution", "### START SOLUTION"),
        *("###\u00a0BEGIN SOLUTION", "### BEGIN SOLUTIONS", "### SOLUTION BEGIN"),
        *("x = 1 ### BEGIN SOLUTION", "x = '#'  ###BEGIN SOLUTION", "# begin solution"),
        *("# ### BEGIN SOLUTION", "#     ### BEGIN SOLUTION", "# --- Begin solution ---"),
        *("### BEGIN\u200b SOLUTION", "### \u200bBEGIN SOLUTION", "# == BEGIN SOLUTION =="),
    ],
)
def test_what_is_nearly_a_mark_is_refused_with_the_right_one(line: str) -> None:
    with pytest.raises(InvalidInput, match=r"A1\.py:8: .*'### BEGIN SOLUTION', on a line of its"):
        blocks(line)


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        *(("**### BEGIN SOLUTION**", True), ("<!-- ### BEGIN SOLUTION -->", True)),
        *(("`### BEGIN SOLUTION`", False), ("`### BEGIN SOLUTION` and so on", False)),
    ],
)
def test_what_is_nearly_a_mark_is_refused_in_markdown_too(line: str, refused: bool) -> None:
    told = pytest.raises(InvalidInput, match=r"A1\.py:9: .*'### BEGIN SOLUTION', on a line")
    with told if refused else nullcontext():
        assert blocks('mo.md("""', line, '""")') == ()


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        ("### BEGIN HIDDEN TEST", "### BEGIN HIDDEN TESTS"),
        ("### begin hidden tests", "### BEGIN HIDDEN TESTS"),
        ("### BEGIN HIDDENTESTS", "### BEGIN HIDDEN TESTS"),
        ("# BEGIN HIDDEN TESTS", "### BEGIN HIDDEN TESTS"),
        ("# ### BEGIN HIDDEN TESTS", "### BEGIN HIDDEN TESTS"),
        ("# --- begin hidden_tests ---", "### BEGIN HIDDEN TESTS"),
        ("### End Hidden Tests", "### END HIDDEN TESTS"),
        *(("### STOP SOLUTION", "### END SOLUTION"), ("### END SOLUTIONS", "### END SOLUTION")),
        *(("###END SOLUTION", "### END SOLUTION"), ("# end solution", "### END SOLUTION")),
    ],
)
def test_what_is_nearly_another_mark_is_refused_as_well(line: str, mark: str) -> None:
    with pytest.raises(InvalidInput, match=rf"A1\.py:8: .*'{mark}', on a line of its"):
        blocks(line)


@pytest.mark.parametrize("rest", [("else:", "    g = 2"), ("h = 2",)])
def test_a_block_does_not_leave_the_indented_code_it_begins_in(rest: tuple[str, ...]) -> None:
    lines = ["if True:", "    ### BEGIN SOLUTION", "    g = 1", *rest, "    ### END SOLUTION"]
    with pytest.raises(InvalidInput, match=r"A1\.py:9: the SOLUTION block ends outside of"):
        blocks(*lines)


def test_a_block_may_begin_below_indented_code_and_hold_some() -> None:
    inside = ("if x:", '    a = """', "b", '"""', "# less", "else:", "    a = 2", "b = 3")
    assert blocks("if x:", "    pass", "### BEGIN SOLUTION", *inside, "### END SOLUTION")
