"""Marks, the score table and how it follows the checks (compatibility-0.3.16.md 8)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mograder.runtime import Grader
from tests.unit.runtime_output import body_of, kind_of, lines_of, words_of


def test_a_grader_shows_the_marks_and_what_is_missing() -> None:
    box = Grader({"Q1": 15}).check("Q1: slope", [(True, "a"), (True, "b"), (False, "c", 3)])
    assert kind_of(box) == "info"
    assert "some checks failed: [6/15 marks]" in words_of(box)
    assert "c (9 of 15 marks)" in words_of(box)
    assert "2 of 3 checks passed (6 of 15 marks)." in words_of(box)


def test_marks_are_rounded_to_one_decimal_and_whole_ones_are_whole() -> None:
    grader = Grader({"Q1": 10})
    third = grader.check("Q1", [(True, "a"), (False, "b"), (False, "c")])
    assert "[3.3/10 marks]" in words_of(third)
    assert "[10/10 marks]" in words_of(grader.check("Q1", [(True, "a")]))
    assert "[0/10 marks]" in words_of(grader.check("Q1", []))
    assert kind_of(grader.check("Q1", [(False, "a")])) == "danger"


def test_a_question_without_marks_has_no_badge() -> None:
    assert "marks]" not in words_of(Grader({"Q1": 10}).check("Q2: extra", [(True, "a")]))


def test_the_score_table_counts_the_last_check_of_each_label() -> None:
    grader = Grader({"Q1": 10, "Q2": 15, "Q3": 5, "Analysis": 60})
    grader.check("Q1: first", [(False, "a")])
    grader.check("Q1: first", [(True, "a")])
    grader.check("Q2: half", [(True, "a"), (False, "b")])
    grader.check("Q3: none", [(False, "b")])
    table = grader.scores()
    assert kind_of(table) == "neutral"
    _, _, body = body_of(table).partition("<tbody>")
    rows = re.findall(r"<tr><th[^>]*>(.*?)</th><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td>", body)
    assert rows == [
        ("Q1", "PASS", "10/10"),
        ("Q2", "PARTIAL", "7.5/15"),
        ("Q3", "FAIL", "0/5"),
        ("Analysis", "—", "0/60"),
        ("<strong>Total</strong>", "", "17.5/90"),
    ]


def test_all_labels_of_a_question_earn_its_marks_together() -> None:
    grader = Grader({"Q1": 10})
    assert "[10/10 marks]" in words_of(grader.check("Q1: a", [(True, "a")]))
    box = grader.check("Q1: b", [(True, "b"), (False, "c", 2)])
    assert "[5/10 marks]" in words_of(box)
    assert "c (5 of 10 marks)" in words_of(box)
    row = r"<tr><th[^>]*>Q1</th><td[^>]*>PARTIAL</td><td[^>]*>5/10</td>"
    assert re.search(row, body_of(grader.scores()))


def test_a_question_that_waits_again_loses_its_marks() -> None:
    grader = Grader({"Q1": 10})
    grader.check("Q1", [(True, "a")])
    grader.check("Q1", [])
    waiting = r'<td [^>]*aria-label="waiting">—</td><td[^>]*>0/10</td>'
    assert re.search(waiting, body_of(grader.scores()))


def test_full_marks_turn_the_score_table_green() -> None:
    grader = Grader({"Q1": 0.1, "Q2": 0.2})
    grader.check("Q1", [(True, "a")])
    grader.check("Q2", [(True, "a")])
    assert kind_of(grader.scores()) == "success"


@pytest.mark.parametrize("hidden", [True, False])
def test_marks_are_kept_back_while_hidden_tests_are_to_come(tmp_path: Path, hidden: bool) -> None:
    notebook = tmp_path / "A1.py"
    key = "# mograder-hidden-tests = true\n" if hidden else ""
    notebook.write_text(f"# /// script\n{key}# ///\n")
    scope = {"__file__": str(notebook), "Grader": Grader}
    exec("grader = Grader({'Q1': 10})", scope)
    grader = scope["grader"]
    assert isinstance(grader, Grader)
    assert ("marks]" in words_of(grader.check("Q1", [(True, "a")]))) is not hidden
    assert ("after grading" in body_of(grader.scores())) is hidden


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


@pytest.mark.full
def test_the_score_table_follows_the_checks_and_runs_no_check_again(tmp_path: Path) -> None:
    notebook = tmp_path / "A1.py"
    notebook.write_text(_REACTIVE)
    command = [sys.executable, "-m", "marimo", "-q", "export", "html", str(notebook)]
    subprocess.run(
        [*command, "-o", str(tmp_path / "A1.html")], check=True, capture_output=True, timeout=60
    )
    log = notebook.with_suffix(".log").read_text().split()
    assert log == ["empty", "checked", "full"]


def test_a_weight_of_nothing_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = tmp_path / "checks.jsonl"
    monkeypatch.setenv("MOGRADER_SIDECAR_PATH", str(sidecar))
    box = Grader({"Q1": 10}).check("Q1", [(True, "a", 0), (False, "b", 0)])
    assert "[0/10 marks]" in words_of(box)
    grader = Grader({"Q1": 10})
    assert "[10/10 marks]" in words_of(grader.check("Q1", [(True, "a"), (False, "b", 0)]))
    statuses = [line["status"] for line in lines_of(sidecar)]
    assert statuses == ["danger", "partial"]
