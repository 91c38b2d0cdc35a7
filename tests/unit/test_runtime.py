"""What a notebook imports from us (compat.md 8), whatever a student's values do."""

from __future__ import annotations

import ast
import functools
import html
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import marimo as mo
import pytest

import mograder.runtime
from mograder.runtime import Grader, check, hint


class _Array:
    """As much of a numpy array as a condition meets; the example course brings the real one."""

    def __init__(self, *values: float) -> None:
        self.values = values
        self.size = len(values)

    def __ne__(self, other: object) -> _Array:  # type: ignore[override]
        assert isinstance(other, _Array)
        return _Array(*(a != b for a, b in zip(self.values, other.values, strict=True)))

    def all(self) -> bool:
        return all(self.values)

    def any(self) -> bool:
        return any(self.values)

    def __bool__(self) -> bool:
        raise ValueError("The truth value of an array is ambiguous.")


def _kind(box: mo.Html) -> str:
    match = re.search(r"data-kind='([^']*)'", box.text)
    assert match
    return str(json.loads(html.unescape(match[1])))


def _body(box: mo.Html) -> str:
    """The HTML inside a callout."""
    match = re.search(r"data-html='([^']*)'", box.text)
    assert match
    return str(json.loads(html.unescape(match[1])))


def _words(box: mo.Html) -> str:
    """What a reader sees in a callout, or hears."""
    return html.unescape(re.sub(r"<[^>]*>", "", _body(box)))


@pytest.fixture
def sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "checks.jsonl"
    monkeypatch.setenv("MOGRADER_SIDECAR_PATH", str(path))
    return path


def _lines(sidecar: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in sidecar.read_text().splitlines()]


def test_it_imports_the_standard_library_marimo_and_its_companions_only() -> None:
    tree = ast.parse(Path(mograder.runtime.__file__).read_text())
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert names - set(sys.stdlib_module_names) == {"marimo", "mograder"}


def test_an_empty_list_waits_for_code(sidecar: Path) -> None:
    box = check("Q1: the mean", [])
    assert _kind(box) == "warn"
    assert "Q1: the mean — waiting for your code" in _words(box)
    assert _lines(sidecar) == [
        {
            "label": "Q1: the mean",
            "status": "warn",
            "details": [],
            "earned_weight": 0,
            "total_weight": 0,
        }
    ]


def test_conditions_that_hold_pass(sidecar: Path) -> None:
    box = check("Q1", [(True, "first"), (1.0, "second", 3)])
    assert _kind(box) == "success"
    assert "Q1 — all checks passed" in _words(box)
    assert _lines(sidecar) == [
        {"label": "Q1", "status": "success", "details": [], "earned_weight": 4, "total_weight": 4}
    ]


def test_a_failed_condition_shows_its_message(sidecar: Path) -> None:
    box = check("Q1", [(False, "the mean should be 4")])
    assert _kind(box) == "danger"
    assert "Q1 — some checks failed:" in _words(box)
    assert "<li>the mean should be 4</li>" in _body(box)
    assert _lines(sidecar)[0]["status"] == "danger"
    assert _lines(sidecar)[0]["details"] == ["the mean should be 4"]


def test_partial_credit_says_how_much_and_for_what(sidecar: Path) -> None:
    box = check("Q1", [(True, "a"), (False, "b", 3)])
    assert _kind(box) == "danger"
    assert "b (weight 3 of 4)" in _words(box)
    assert "1 of 2 checks passed (weight 1 of 4)." in _words(box)
    line = _lines(sidecar)[0]
    assert (line["status"], line["earned_weight"], line["total_weight"]) == ("partial", 1, 4)


def test_equal_weights_are_not_mentioned() -> None:
    assert _words(check("Q1", [(True, "a"), (False, "b")])).endswith("b1 of 2 checks passed.")


def test_without_a_sidecar_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOGRADER_SIDECAR_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    check("Q1", [(True, "fine")])
    assert list(tmp_path.iterdir()) == []


def test_each_check_appends_one_line_whatever_its_label_holds(sidecar: Path) -> None:
    check("Q1: a\nb", [(True, "fine")])
    check("Q2: \ud800 é", [(False, "no\nway")])
    assert [line["label"] for line in _lines(sidecar)] == ["Q1: a\nb", "Q2: ? é"]


def test_a_sidecar_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGRADER_SIDECAR_PATH", str(tmp_path / "missing" / "checks.jsonl"))
    with pytest.raises(FileNotFoundError):
        check("Q1", [(True, "fine")])


def test_a_lazy_condition_that_raises_fails_with_its_error(sidecar: Path) -> None:
    box = check("Q1", [(lambda: 1 / 0, "dividing works"), (lambda: [1], "order")])
    assert "dividing works ZeroDivisionError: division by zero" in _words(box)
    line = _lines(sidecar)[0]
    assert line["status"] == "partial"
    assert line["details"] == ["dividing works (ZeroDivisionError: division by zero)"]


def test_a_lazy_condition_may_call_exit_and_the_cell_lives_on() -> None:
    assert "SystemExit: 3" in _words(check("Q1", [(lambda: sys.exit(3), "stays")]))


def test_an_interrupt_is_not_swallowed() -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("Q1", [(interrupted, "stays")])


def test_a_long_error_is_clipped() -> None:
    def complains() -> bool:
        raise ValueError("x" * 100_000)

    assert len(_body(check("Q1", [(complains, "short")]))) < 1000


def test_a_function_with_arguments_is_a_true_value_as_it_was_in_0_3_16() -> None:
    assert _kind(check("Q1", [(lambda x: x, "define it"), (dict, "a class")])) == "success"


def test_a_partial_is_lazy() -> None:
    assert _kind(check("Q1", [(functools.partial(math.isclose, 1, 2), "close")])) == "danger"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (math.nan, "danger"),
        (None, "danger"),
        (..., "success"),
        ("text", "success"),
        ([], "danger"),
        (_Array(1, 1), "success"),
        (_Array(1, 0), "danger"),
        (_Array(1, math.nan), "danger"),
        (_Array(), "danger"),
    ],
)
def test_any_value_is_judged(value: object, kind: str) -> None:
    assert _kind(check("Q1", [(value, "message")])) == kind
    assert _kind(check("Q1", [(lambda: value, "message")])) == kind


def test_a_value_that_refuses_to_be_judged_or_shown_only_fails() -> None:
    class Hostile:
        def __bool__(self) -> bool:
            raise RuntimeError(self)

        def __str__(self) -> str:
            raise RuntimeError("no")

    words = _words(check("Q1", [(Hostile(), Hostile())]))  # type: ignore[list-item]
    assert "<Hostile, not printable: RuntimeError>" in words


@pytest.mark.parametrize("entry", [True, ("one",), (True, "a", 1, 2)])
def test_an_entry_that_is_no_check_is_the_authors_error(entry: object) -> None:
    with pytest.raises(ValueError, match="Entry 2 of check 'Q1'"):
        check("Q1", [(True, "fine"), entry])  # type: ignore[list-item]


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf])
def test_a_weight_that_is_no_amount_is_the_authors_error(weight: float) -> None:
    with pytest.raises(ValueError, match="weight of entry 1"):
        check("Q1", [(True, "fine", weight)])


def test_labels_messages_and_errors_are_escaped() -> None:
    attack = "<img src=x onerror=alert(1)> & [a](javascript:alert(1))"

    def complains() -> bool:
        raise ValueError(attack)

    body = _body(check(attack, [(False, attack), (complains, f"`{attack}` ${attack}$")]))
    assert "<img" not in body
    assert "<a" not in body
    assert body.count("&lt;img src=x onerror=alert(1)&gt; &amp; ") == 5


def test_messages_may_hold_code_bold_and_maths() -> None:
    body = _body(check("Q1", [(False, "`x < 3` is **not** $x_1 < 3$, it costs $5 and $6")]))
    assert "<code>x &lt; 3</code> is <strong>not</strong>" in body
    assert '<marimo-tex class="arithmatex">||(x_1 &lt; 3||)</marimo-tex>' in body
    assert "it costs $5 and $6" in body


def test_maths_is_written_as_marimo_writes_it() -> None:
    element = re.search(r"<marimo-tex.*?</marimo-tex>", mo.md("$x_1 < 3$").text)
    assert element
    assert element[0] in _body(check("Q1", [(False, "$x_1 < 3$")]))


def test_a_box_is_a_status_that_needs_no_colour() -> None:
    for box in (check("Q1", []), check("Q1", [(True, "a")]), check("Q1", [(False, "a")])):
        assert 'role="status"' in _body(box)
        assert 'aria-hidden="true"' in _body(box)
        assert "color:" not in _body(box)
        assert "prose-invert" in _body(box)


def test_a_grader_shows_the_marks_and_what_is_missing() -> None:
    box = Grader({"Q1": 15}).check("Q1: slope", [(True, "a"), (True, "b"), (False, "c", 3)])
    assert _kind(box) == "info"
    assert _words(box).startswith("[6/15 marks]")
    assert "c (9 of 15 marks)" in _words(box)
    assert "2 of 3 checks passed (6 of 15 marks)." in _words(box)


def test_marks_are_rounded_to_one_decimal_and_whole_ones_are_whole() -> None:
    grader = Grader({"Q1": 10})
    third = grader.check("Q1", [(True, "a"), (False, "b"), (False, "c")])
    assert _words(third).startswith("[3.3/10 marks]")
    assert _words(grader.check("Q1", [(True, "a")])).startswith("[10/10 marks]")
    assert _words(grader.check("Q1", [])).startswith("[0/10 marks]")
    assert _kind(grader.check("Q1", [(False, "a")])) == "danger"


def test_a_question_without_marks_has_no_badge() -> None:
    assert "marks]" not in _words(Grader({"Q1": 10}).check("Q2: extra", [(True, "a")]))


def test_the_score_table_counts_the_last_check_of_each_question() -> None:
    grader = Grader({"Q1": 10, "Q2": 15, "Q3": 5, "Analysis": 60})
    grader.check("Q1: first", [(False, "a")])
    grader.check("Q1: again", [(True, "a")])
    grader.check("Q2: half", [(True, "a"), (False, "b")])
    grader.check("Q3: none", [(False, "b")])
    table = grader.scores()
    assert _kind(table) == "neutral"
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', _body(table))
    assert rows == [
        ("Q1", "PASS", "10/10"),
        ("Q2", "PARTIAL", "7.5/15"),
        ("Q3", "FAIL", "0/5"),
        ("Analysis", "—", "0/60"),
        ("<strong>Total</strong>", "", "17.5/90"),
    ]


def test_a_question_that_waits_again_loses_its_marks() -> None:
    grader = Grader({"Q1": 10})
    grader.check("Q1", [(True, "a")])
    grader.check("Q1", [])
    assert "<td>—</td><td>0/10</td>" in _body(grader.scores())


def test_full_marks_turn_the_score_table_green() -> None:
    grader = Grader({"Q1": 0.1, "Q2": 0.2})
    grader.check("Q1", [(True, "a")])
    grader.check("Q2", [(True, "a")])
    assert _kind(grader.scores()) == "success"


@pytest.mark.parametrize("hidden", [True, False])
def test_marks_are_kept_back_while_hidden_tests_are_to_come(tmp_path: Path, hidden: bool) -> None:
    notebook = tmp_path / "A1.py"
    key = "# mograder-hidden-tests = true\n" if hidden else ""
    notebook.write_text(f"# /// script\n{key}# ///\n")
    scope = {"__file__": str(notebook), "Grader": Grader}
    exec("grader = Grader({'Q1': 10})", scope)
    grader = scope["grader"]
    assert isinstance(grader, Grader)
    assert ("marks]" in _words(grader.check("Q1", [(True, "a")]))) is not hidden
    assert ("after grading" in _body(grader.scores())) is hidden


_REACTIVE = """
import marimo
app = marimo.App()

@app.cell
def _(grader, log):
    log("full" if "10/10" in grader.scores().text else "empty")
    return

@app.cell
def _(check, log):
    check("Q1", [(True, "a")])
    log("checked")
    return

@app.cell
def _():
    from pathlib import Path
    from mograder.runtime import Grader
    grader = Grader({"Q1": 10})
    check = grader.check

    def log(line):
        with Path(__file__).with_suffix(".log").open("a") as file:
            print(line, file=file)
    return check, grader, log
"""


def test_the_score_table_follows_the_checks_and_runs_no_check_again(tmp_path: Path) -> None:
    notebook = tmp_path / "A1.py"
    notebook.write_text(_REACTIVE)
    command = [sys.executable, "-m", "marimo", "-q", "export", "html", str(notebook)]
    subprocess.run(
        [*command, "-o", str(tmp_path / "A1.html")], check=True, capture_output=True, timeout=60
    )
    log = notebook.with_suffix(".log").read_text().split()
    assert log == ["empty", "checked", "full"]


def test_hints_are_numbered_when_there_are_several() -> None:
    assert "Hint 1" not in hint("Use `sum`.").text
    several = hint("Use `sum`.", "Divide.").text
    assert "Hint 1" in several
    assert "Hint 2" in several
