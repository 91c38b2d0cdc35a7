"""grading.author.quality: facts from submissions, and reports as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from mograder.grading.author.author_runs import AuthorTrial
from mograder.grading.author.quality_trials import ExaminedSource, QualityReport
from mograder.grading.author.submission_findings import facts, submissions_in, tell_submissions
from mograder.grading.item_statistics import CheckStatistics
from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.checks_advice import Fault, QualityFinding
from mograder.notebook.grading.grading_split import plan_source
from mograder.sandbox.execution.judging import JudgingResult
from mograder.sandbox.inside.grading_contract import Contract
from tests.support.author_runs import NoRuns
from tests.support.fake_judges import FINISHED, SOLVED, SOURCE, everything_passed, release_of


def test_checks_that_all_or_no_submissions_pass_are_told_at_their_lines() -> None:
    plan = plan_source(SOURCE, "A1.py").plan
    source = ExaminedSource("A1.py", "A1.py", Path(), parse_cells(SOURCE, "A1.py"), plan, "")
    all_pass, none_pass, unknown = facts(
        source,
        [
            CheckStatistics("Q1: area", 20, 20),
            CheckStatistics("Q1: more", 20, 1),
            CheckStatistics("Q9", 20, 0),
            CheckStatistics("Q2", 20, 10),
            CheckStatistics("Q3", 4, 0),
        ],
    )
    lines = SOURCE.splitlines()
    assert all_pass.fault is Fault.EVERYBODY
    assert 'check("Q1: area"' in lines[all_pass.line - 1]
    assert none_pass.fault is Fault.NOBODY
    assert 'check("Q1: more"' in lines[none_pass.line - 1]
    assert none_pass.message == "'Q1: more': 1 of 20 submissions pass."
    assert (unknown.line, unknown.cell) == (1, None)


async def test_a_submission_without_a_result_counts_for_no_check(tmp_path: Path) -> None:
    """The judge was short of memory: nobody knows whether its student passes."""
    plan = plan_source(SOURCE, "A1.py").plan

    class Lost(NoRuns):
        async def judge(self, _: AuthorTrial, __: object, /) -> JudgingResult:
            checks = [
                replace(
                    check,
                    state="needs attention",
                    labels=tuple(replace(x, earned=0.0, passed=False) for x in check.labels),
                )
                for check in everything_passed(plan)
            ]
            return JudgingResult("", tuple(checks), FINISHED, protected=True)

    for number in range(5):
        (tmp_path / f"s{number}.py").write_text(SOLVED)
    notebook, release = parse_cells(SOURCE, "A1.py"), release_of(SOURCE)
    source = ExaminedSource("A1.py", "A1.py", tmp_path, notebook, plan, release)
    report, given = QualityReport("A1.py"), submissions_in(tmp_path, tmp_path)
    await tell_submissions(source, given, Contract("", (), ()), Lost(), report, lambda: None)
    assert (report.findings, report.notes) == ([], [])


def test_a_finding_is_told_with_its_example_below_it() -> None:
    finding = QualityFinding("a.py", 3, Fault.MUTANT, "A fault.", "Mend it.", "- a\n+ b", 2)
    assert list(finding.lines()) == ["a.py:3: mutant: A fault. Mend it.", "    - a", "    + b"]


def test_a_report_has_each_finding_once_and_is_json() -> None:
    report = QualityReport("a.py", labels=1)
    for _ in range(2):
        report.add(QualityFinding("a.py", 3, Fault.DATE, "A fault.", "Mend it.", cell=2))
    assert report.summary() == "a.py: not finished, 1 finding so far; 1 check"
    report.complete = True
    assert report.summary() == "a.py: 1 finding; 1 check"
    told = json.loads(json.dumps(report.as_data()))
    assert told["findings"] == [
        {
            "fault": "date",
            "file": "a.py",
            "line": 3,
            "cell": 2,
            "message": "A fault.",
            "example": "",
            "remedy": "Mend it.",
        }
    ]
