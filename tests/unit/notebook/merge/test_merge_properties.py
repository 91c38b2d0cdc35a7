"""Properties of every merge, over random releases, corrections and copies.

A hundred examples by default; ``HYPOTHESIS_PROFILE=long`` runs each property for thousands.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from marimo._ast.compiler import compile_cell
from marimo._lint.validate_graph import check_for_errors
from marimo._runtime.dataflow import DirectedGraph
from marimo._types.ids import CellId_t

from mograder.core.errors import InvalidInput
from mograder.notebook.cell_pairs import code_of, told_apart
from mograder.notebook.cells import Cell, CellKind, parse_cells
from mograder.notebook.merge.cell_merge import Merge, NotMergeable, merge
from mograder.notebook.merge.merge_decisions import AUTHOR_REMOVED
from mograder.notebook.points import guarded_cells, is_editable, is_marks_cell, labels_in
from tests.unit.notebook.merge_strategies import (
    TOPICS,
    Question,
    asked,
    corrected,
    edited,
    made_of,
    releases,
    written,
)
from tests.unit.notebook.strategies import TEXTS, damaged, notebooks

pytestmark = pytest.mark.timeout(1800)
N = settings().max_examples
SOME = settings(max_examples=max(min(N, 40), N // 5))


@st.composite
def cases(draw: st.DrawFn, *, honest: bool = False) -> tuple[str, str, str]:
    """An old release, the new one, and a copy that parses."""
    base = draw(releases())
    old = written(base)
    new = written(draw(corrected(base)), more=draw(st.sampled_from(["", ', "numpy"'])))
    assume(old != new)
    mine = written(draw(edited(base, honest=honest)), hashes=False)
    header = old[: old.index("import marimo")]
    own = header + mine[mine.index("import marimo") :]
    note("\n=== NEW ===\n".join([old, new]) + "\n=== COPY ===\n" + own)
    return old, new, own


@st.composite
def terms(draw: st.DrawFn) -> tuple[str, str, str, str]:
    """A release, two corrections of it one after the other, and a copy of the first one."""
    base = draw(releases())
    better = draw(corrected(base))
    old, new, newest = (written(each) for each in (base, better, draw(corrected(better))))
    assume(old != new != newest)
    mine = written(draw(edited(base)), hashes=False)
    own = old[: old.index("import marimo")] + mine[mine.index("import marimo") :]
    note("\n=== NEXT ===\n".join([old, new, newest]) + "\n=== COPY ===\n" + own)
    return old, new, newest, own


@dataclass(frozen=True)
class Case:
    """The texts of a merge; ``known`` is the old release where it is at hand."""

    base: str
    new: str
    mine: str
    known: str | None

    @cached_property
    def authors(self) -> set[str]:
        """The codes of all cells that the author wrote."""
        return {code_of(cell) for text in (self.base, self.new) for cell in cells_of(text)}


def merged(base: str | None, new: str, mine: str) -> Merge | None:
    """The merge, or None where it is refused."""
    try:
        return merge(base, new, mine)
    except NotMergeable:
        return None


def cells_of(text: str) -> tuple[Cell, ...]:
    return parse_cells(text, "x.py").cells


def faults_of(text: str) -> set[str]:
    """The faults that marimo finds: names that several cells define, and cells in cycles."""
    graph = DirectedGraph()
    for cell in cells_of(text):
        name = "setup" if cell.kind is CellKind.SETUP else str(cell.index)
        if cell.kind is not CellKind.UNPARSABLE:
            with suppress(SyntaxError):
                made = CellId_t(name)
                graph.register_cell(made, compile_cell(cell.code, cell_id=made))
    return {
        getattr(error, "name", "") or f"{type(error).__name__}: {graph.cells[cell].code.strip()}"
        for cell, errors in check_for_errors(graph).items()
        for error in errors
    }


def decides(text: str) -> list[Cell]:
    """The cells of a release that decide about marks."""
    notebook = parse_cells(text, "x.py")
    return [
        each.cell for each in guarded_cells(notebook) if each.labels and not is_editable(each.cell)
    ]


def all_that_decides_about_marks_is_as_released(case: Case, found: Merge) -> None:
    have = {code_of(cell) for cell in cells_of(found.text)}
    for cell in decides(case.new):
        allowed = not any(labels_in(cell.code))  # imports may be added to it
        own_marks = any(is_marks_cell(each) for each in cells_of(case.mine))
        assert code_of(cell) in have or (allowed and own_marks)
    header = case.new[: case.new.index("import marimo")]
    assert found.text[: found.text.index("import marimo")] == header


def nothing_that_the_student_wrote_is_lost(case: Case, found: Merge) -> None:
    given_lines = {line.strip() for text in (case.base, case.new) for line in text.split("\n")}
    lines = [line.strip() for line in found.text.split("\n")]
    have = {*lines, *(line.removeprefix("# ").strip() for line in lines)}
    codes = {code_of(cell) for cell in cells_of(found.text)}
    for cell in cells_of(case.mine):
        if code_of(cell) in case.authors or code_of(cell) in codes:
            continue
        for line in code_of(cell).split("\n"):
            assert line.strip() in given_lines | have


def an_answer_is_the_same_cell_afterwards(case: Case, found: Merge) -> None:
    have = {code_of(cell) for cell in cells_of(found.text)}
    for cell in cells_of(case.mine):
        own = code_of(cell) not in case.authors and not any(labels_in(cell.code))
        if own and not any(part in cell.code for part in ("import", "grader", "MOGRADER")):
            assert code_of(cell) in have


def what_ran_still_runs(case: Case, found: Merge) -> None:
    assert faults_of(found.text) <= faults_of(case.mine) | faults_of(case.new)


def has_answers_alike(*texts: str) -> bool:
    """Whether nothing tells two open answers of a release apart, so nor which was added."""
    notebooks = [cells_of(text) for text in texts]
    found = [[*zip(cells, told_apart(cells), strict=True)] for cells in notebooks]
    keys = [[key for cell, key in pairs if is_editable(cell)] for pairs in found]
    return any(len(set(each)) < len(each) for each in keys)


def a_second_merge_changes_nothing(case: Case, found: Merge) -> None:
    if not has_answers_alike(case.base, case.new):
        assert merge(case.known, case.new, found.text).text == found.text
    assert merge(case.new, case.new, found.text).text == found.text
    assert merge(case.known, case.new, case.mine) == found


def the_students_cells_keep_their_order(case: Case, found: Merge) -> None:
    if case.known is None:
        return
    own = [code for each in cells_of(case.mine) if (code := code_of(each)) not in case.authors]
    once = {code for code, count in Counter(own).items() if count == 1}
    after = [code_of(cell) for cell in cells_of(found.text)]
    notes = [code for code in after if code in once and code.startswith("note_")]
    assert notes == [code for code in own if code in once and code.startswith("note_")]


@settings(max_examples=max(min(2 * N, 80), N // 5))
@given(cases(), st.booleans())
def test_every_merge_keeps_what_it_must(texts: tuple[str, str, str], knows: bool) -> None:
    """All properties of the same examples: making one takes longer than a merge."""
    case = Case(*texts, known=texts[0] if knows else None)
    found = merged(case.known, case.new, case.mine)
    if found is None:
        return
    all_that_decides_about_marks_is_as_released(case, found)
    nothing_that_the_student_wrote_is_lost(case, found)
    an_answer_is_the_same_cell_afterwards(case, found)
    what_ran_still_runs(case, found)
    a_second_merge_changes_nothing(case, found)
    the_students_cells_keep_their_order(case, found)


def plain_lines(text: str) -> set[str]:
    """The lines of a notebook's cells, also of those that are comments, perhaps of comments."""
    lines = (line for cell in cells_of(text) for line in code_of(cell).split("\n"))
    return {line.strip().lstrip("# ").replace('(r"""', '("""') for line in lines}


@SOME
@given(terms(), st.booleans())
def test_two_updates_one_after_the_other_lose_nothing(
    texts: tuple[str, str, str, str], knows: bool
) -> None:
    old, new, newest, mine = texts
    first = merged(old if knows else None, new, mine)
    found = merged(new if knows else None, newest, first.text) if first is not None else None
    if found is None:
        return
    assert plain_lines(mine) <= set[str]().union(*map(plain_lines, (old, new, newest, found.text)))
    all_that_decides_about_marks_is_as_released(Case(old, newest, mine, None), found)
    if not has_answers_alike(new, newest):
        again = merge(new if knows else None, newest, found.text)
        assert list(map(code_of, cells_of(again.text))) == list(map(code_of, cells_of(found.text)))


@SOME
@given(cases())
def test_where_only_one_side_changed_it_is_taken_as_it_is(texts: tuple[str, str, str]) -> None:
    base, new, mine = texts
    assert merge(base, new, base).text == new
    assert merge(None, new, new).text == new
    assert not merge(base, new, base).conflicts
    try:
        found = merge(base, base, mine)
    except NotMergeable:
        with pytest.raises(InvalidInput):
            parse_cells(mine, "x.py")
        return
    assert found.text == mine
    assert not found.changed


@SOME
@given(cases(honest=True))
def test_a_copy_with_answers_and_own_cells_is_always_merged(case: tuple[str, str, str]) -> None:
    base, new, mine = case
    found = merge(base, new, mine)
    have = {code_of(cell) for cell in cells_of(found.text)}
    assert {code_of(cell) for cell in decides(new)} <= have
    assert merge(None, new, mine).text


def question_of(cell: Cell) -> str:
    """The topic of the question that a text asks, "" if it asks none."""
    found = (topic for topic, text in TOPICS.items() if text.rstrip(".") in cell.code)
    return next(found, "")


def below(text: str) -> list[tuple[str, Cell]]:
    """The cells of a notebook that ask nothing, with the topic of the question above each."""
    out, topic = [], ""
    for cell in cells_of(text):
        topic = question_of(cell) or topic
        if not question_of(cell):
            out.append((topic, cell))
    return out


@settings(max_examples=max(min(2 * N, 80), N))
@given(st.data(), asked(), asked(), st.sampled_from(["", "Two sentences are enough."]))
def test_an_answer_stays_below_its_question(
    data: st.DataObject, before: list[Question], after: list[Question], remark: str
) -> None:
    """Questions come, go and change places, and their open answers are all alike."""
    kept = {each.topic: each for each in before}
    after = [kept.get(each.topic, each) for each in after]
    answered = [each.topic for each in before if data.draw(st.booleans())]
    answers = {topic: kept[topic].answered() for topic in answered}
    old, new = written(made_of(before, {}, "")), written(made_of(after, {}, remark))
    mine = written(made_of(before, answers, ""), hashes=False)
    mine = old[: old.index("import marimo")] + mine[mine.index("import marimo") :]
    note("\n=== NEW ===\n".join([old, new]) + "\n=== COPY ===\n" + mine)
    found = merge(old, new, mine)
    note("\n=== RESULT ===\n" + found.text)
    told = [each.reason for each in found.conflicts]
    asks = {each.topic for each in after}
    have = below(found.text)
    for topic in answered:
        places = [above for above, cell in have if f"mine on {topic}" in cell.code]
        assert places == [topic, topic] if topic in asks else AUTHOR_REMOVED in told
    for each in after:
        of = [cell for above, cell in have if above == each.topic]
        assert each.topic in answered or any(map(is_editable, of))
    names = Counter(cell.name for _, cell in have if cell.name != "_")
    assert set(names.values()) <= {1}


@SOME
@given(
    st.one_of(st.none(), TEXTS, notebooks(), damaged()),
    st.one_of(TEXTS, notebooks(), damaged()),
    st.one_of(TEXTS, notebooks(), damaged()),
)
def test_no_text_breaks_a_merge(base: str | None, new: str, mine: str) -> None:
    found = merged(base, new, mine)
    if found is not None:
        assert parse_cells(found.text, "x.py")
