"""The page of a validation: what a student reads, and what no student can make it do."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mograder.grading.validation_report import (
    CellError,
    CheckStatus,
    IntegrityFindings,
    ValidatedCheck,
    ValidationReport,
    has_our_elements_only,
    render_html,
)
from mograder.notebook.findings import Finding
from mograder.notebook.integrity import Level
from mograder.sandbox.execution.report import Outcome
from tests.support.page_reader import Reader

SOLVED = ValidatedCheck("Q1: The sum", "Q1", CheckStatus.SUCCESS, (), 5.0, 5.0, "_", 67)
PARTLY = ValidatedCheck(
    *("Q2: The mean", "Q2", CheckStatus.PARTIAL, ("the mean of `[5]` is **5**",)),
    *(2.5, 5.0, "the_check", 107),
)
BROKEN = CellError(
    "_", 60, "NameError", "name 'sun' is not defined", "so far\n", "total = sun(range(101))"
)
REPORT = ValidationReport(
    "A1.py", Outcome.FINISHED, "", (SOLVED, PARTLY), (BROKEN,), marks=(7.5, 10.0)
)
EVIL = (
    "</style></p><script>alert(1)</script><img src=//example.org/x onerror=alert(1)>"
    "\"' {title} {style} `</code><script>` **<b>** &amp; \u202etxt.\ud800\x00\x1b[31m"
)


def read(report: ValidationReport) -> str:
    """The words of a page, with single spaces."""
    return Reader(render_html(report)).words


def test_it_says_for_each_check_what_came_of_it_where_and_why() -> None:
    words = read(REPORT)
    assert "A1.py does not pass yet" in words
    assert "1 of 2 checks pass, 1 cell has an error, 7.5 of 10 marks by checks." in words
    assert "PASSQ1: The sum5/5 marksLine 67" in words
    assert "PARTIALQ2: The mean2.5/5 marksLine 107, cell the_checkthe mean of [5] is 5" in words


def test_it_names_a_cell_that_failed_by_its_line_and_what_stands_there() -> None:
    words = read(REPORT)
    assert "ERRORNameErrorname 'sun' is not definedLine 60total = sun(range(101))" in words
    assert words.index("so far") < words.index("Checks"), "first what keeps checks from running"
    assert "Put back from the release" in read(
        replace(REPORT, cell_errors=(replace(BROKEN, line=None),))
    )


def test_what_is_still_to_come_and_what_was_changed_is_said() -> None:
    warning = Finding("A1.py", 12, "the check of Q1 was changed.")
    integrity = IntegrityFindings(Level.SOURCE, (warning,))
    report = replace(
        REPORT, checks=(replace(SOLVED, hidden=True),), integrity=integrity, marks=(5.0, 5.0)
    )
    assert "5 of 5 marks by checks, more tests come when it is graded." in read(report)
    assert read(report).count("More tests come when it is graded.") == 1
    assert "A1.py:12: the check of Q1 was changed." in read(report)


def test_a_check_that_waits_says_for_whom() -> None:
    waiting = replace(SOLVED, status=CheckStatus.WARN, messages=(), earned=0.0)
    assert "It waits for an answer." in read(replace(REPORT, checks=(waiting,)))
    graded = replace(waiting, hidden=True, waits=True)
    words = read(replace(REPORT, checks=(graded,)))
    assert "More tests come when it is graded." in words
    assert "It waits" not in words


def test_a_notebook_that_never_ran_says_why() -> None:
    never = ValidatedCheck("Q1", "Q1", CheckStatus.NOT_RUN, ("not run: it ended",), 0.0, 5.0)
    problem = "It was ended after 9 seconds: is there an endless loop?"
    words = read(ValidationReport("A1.py", Outcome.TIMED_OUT, problem, (never,)))
    assert problem in words
    assert "NOT RUNQ10/5 marksnot run: it ended" in words


@pytest.mark.parametrize("many", [1, 2, 40, 41, 500])
def test_the_stripes_stand_for_the_checks_while_they_can_be_told_apart(many: int) -> None:
    page = render_html(replace(REPORT, checks=(SOLVED,) * many))
    assert page.count('<i class="good">') == (many if 1 < many <= 40 else 0)


def test_nothing_that_a_student_says_becomes_anything_but_words() -> None:
    check = ValidatedCheck(EVIL, EVIL, CheckStatus.PARTIAL, (EVIL,), 1.0, 2.0, EVIL, 3)
    finding = Finding(EVIL, 1, EVIL, EVIL)
    report = ValidationReport(
        *(EVIL, Outcome.FINISHED, EVIL, (check,)),
        (CellError(EVIL, 1, EVIL, EVIL, EVIL, EVIL),),
        IntegrityFindings(Level.SOURCE, (finding,)),
    )
    page, honest = render_html(report), Reader(render_html(REPORT))
    read_as = Reader(page)
    assert set(read_as.elements) <= {*honest.elements, "div", "strong", "code"}
    assert {name for name, _ in read_as.attributes} <= {name for name, _ in honest.attributes}
    assert "<script>alert(1)</script>" in read_as.words
    assert re.search("[\x00\x1b\u202e\ud800]", page) is None
    assert has_our_elements_only(page.encode())


@pytest.mark.parametrize(
    "page",
    [
        b'<link rel="preconnect" href="//example.org">',
        b"<LINK>",
        b"<iframe/src=x>",
        b"<i><frame>",
        b"<!-- --><p>",
        b"<svg><p>",
        b"<a href=x>",
        b"a < b",
        b"<",
        '<link rel="preconnect">'.encode("utf-16"),
        b"\xfe\xff" + "<link>".encode("utf-16-be"),
    ],
)
def test_a_page_with_other_elements_is_none_of_ours(page: bytes) -> None:
    assert not has_our_elements_only(page)
    assert has_our_elements_only(render_html(REPORT).encode())
    assert not has_our_elements_only(render_html(REPORT).encode() + page)


def test_it_loads_nothing_and_asks_nobody() -> None:
    page = Reader(render_html(REPORT))
    assert not set(page.elements) & {"script", "img", "link", "iframe", "form", "a", "object"}
    assert not {name for name, _ in page.attributes} & {"src", "href", "style", "onclick"}
    assert "url(" not in render_html(REPORT)
    assert "@import" not in render_html(REPORT)
