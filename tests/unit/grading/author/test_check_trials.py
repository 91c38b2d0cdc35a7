"""What an author is told of a rehearsal of grading, and the contract that it keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mograder.grading.author.author_runs import AuthorTrial, RunReport
from mograder.grading.author.check_trials import (
    Findings,
    Subject,
    Version,
    interface,
    judge_empty,
    judge_solution,
    rehearse,
    unseen_checks,
)
from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.grading.grading_split import plan_source
from mograder.notebook.points import checks_in
from mograder.sandbox.execution.judging import (
    CrashedCheck,
    JudgedCheck,
    JudgedCondition,
    JudgedLabel,
    JudgedState,
    JudgingResult,
    NeverFailed,
    PassedJunk,
    RehearsalReport,
    UnsteadyLabel,
)
from mograder.sandbox.inside.grading_contract import Contract
from tests.support.author_runs import NoRuns, said
from tests.support.fake_judges import FINISHED, SOURCE, everything_passed, release_of
from tests.unit.notebook.grading_sources import IMPORTS, MARKS, NAME, planned, solved

LEGACY = Path(__file__).parents[3] / "data" / "legacy"
ANSWERS = solved("err = 0", "x = 1", "def f(v): return v", "def g(v): return v")
CHECKS = (
    'check("Q1", [(not err > 1, "err")])',
    'check("Q2", [(f(1) == 1, "f"), (f(x) == 1, "x")])\ncheck("Bonus", [(g(1) == 1, "g")])',
)
PLAN = planned(IMPORTS, MARKS, ANSWERS, *CHECKS).plan
Q1, Q2 = (part.cell for part in PLAN.checks)
LINES = {each.label: each.line for part in PLAN.checks if part.check for each in part.check.labels}


def label(name: str, *, passed: bool = True, total: float = 1.0, reason: str = "") -> JudgedLabel:
    """A label of one condition."""
    condition = JudgedCondition("the message", total, passed, reason)
    return JudgedLabel(name, name, total if passed else 0.0, total, passed, (condition,))


def check(
    cell: int, *labels: JudgedLabel, state: JudgedState = "judged", reason: str = ""
) -> JudgedCheck:
    line = next(part.line for part in PLAN.checks if part.cell == cell)
    return JudgedCheck(cell, line, False, state, reason, labels, (), ())


GOOD = (check(Q1, label("Q1")), check(Q2, label("Q2", total=2.0), label("Bonus")))
OWN = RunReport(
    checks=tuple(
        said(name, "success", weight=weight)
        for name, weight in (("Q1", 1.0), ("Q2", 2.0), ("Bonus", 1.0))
    )
)


def solution(plan: GradingPlan = PLAN, release: RunReport = RunReport()) -> Subject:  # noqa: B008
    source = Version("", NAME, Path(), OWN)
    return Subject(NAME, plan, source, replace(source, report=release))


def result(*checks: JudgedCheck, rehearsal: RehearsalReport | None = None) -> JudgingResult:
    return JudgingResult("", checks or GOOD, FINISHED, True, rehearsal=rehearsal)


def told(findings: Findings) -> tuple[list[str], list[str]]:
    return [str(each) for each in findings.errors], [str(each) for each in findings.advice]


def test_a_solution_that_passes_as_in_the_notebook_is_not_told() -> None:
    assert told(judge_solution(solution(), result())) == ([], [])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (check(Q1, label("Q1", passed=False)), "judged apart: the message. Compare values that"),
        (
            check(Q1, label("Q1", passed=False, reason="FileNotFoundError: out.txt")),
            "FileNotFoundError: out.txt. Let the answer be the content of the file, or write",
        ),
        (
            check(Q1, label("Q1", passed=False, reason="OSError: could not get source code")),
            "Check what the answer does, or write `# mograder: unprotected`",
        ),
        (check(Q1, state="not run", reason="`err` is not defined"), "apart: `err` is not defined."),
        (check(Q1), "judged apart: it did not run."),
        (
            check(Q1, state="not run", reason="no answer: it took too long"),
            "it took too long. A call of an answer may take 10 s, or a thirtieth of `timeout`",
        ),
        (
            check(Q1, state="not run", reason="the time of this check is over"),
            "judged apart: the time of this check is over. A check may take 60 s, or a fifth of",
        ),
        (
            check(Q1, state="not run", reason="the time for all checks is over"),
            "the time for all checks is over. All checks together may take as long as `timeout`",
        ),
        (check(Q1, label("Q1", total=3.0)), "weigh 1 in the notebook, but 3 when judged apart."),
    ],
)
def test_a_label_that_differs_is_a_mistake_with_line_and_remedy(
    wrong: JudgedCheck, said: str
) -> None:
    errors, advice = told(judge_solution(solution(), result(wrong, GOOD[1])))
    assert advice == []
    assert len(errors) == 1
    assert errors[0].startswith(f"{NAME}:{LINES['Q1']}: ")
    assert "'Q1'" in errors[0]
    assert said in errors[0]


def test_a_check_of_the_current_figure_is_told_how_to_do_without() -> None:
    text = 'check("Q1", [(plt.gca().get_title() == x, "title")])'
    plan = planned(IMPORTS, MARKS, "import matplotlib.pyplot as plt", ANSWERS, text).plan
    (part,) = plan.checks
    wrong = JudgedCheck(
        part.cell, part.line, False, "judged", "", (label("Q1", passed=False),), (), ()
    )
    (error,) = judge_solution(solution(plan), result(wrong)).errors
    assert "judged apart: it reads the current figure. Return the figure, or write" in str(error)


METHOD = "class Task:\n    def done(self):\n        return check('Q1: done', [(x == 1, 'x')])"
ASK = "def ask(n):\n    return check(f'Q{n}', [(x == 1, 'x')])"


def test_a_check_with_marks_that_the_plan_does_not_see_is_told() -> None:
    plan = planned(IMPORTS, MARKS, ANSWERS, METHOD, "Task().done()", ASK, "ask(2)").plan
    recorded = [("Q1: done", 4), ("Q2", 6), ("Without marks", 4)]
    report = RunReport(
        checks=tuple(replace(said(name, "success"), index=cell) for name, cell in recorded)
    )
    (finding,) = unseen_checks(plan, NAME, report)
    line = next(cell.line for cell in plan.cells if cell.index == 4)
    assert str(finding).startswith(f"{NAME}:{line}: the check 'Q1: done' is recorded when")
    unmarked = plan.model_copy(update={"marks": None})
    assert list(unseen_checks(unmarked, NAME, report)) == []


@pytest.mark.parametrize("source", sorted(LEGACY.glob("*/*.py")), ids=lambda path: path.stem)
def test_grading_sees_all_checks_of_sources_of_0_3_16(source: Path) -> None:
    text = source.read_text()
    checks = tuple(checks_in(parse_cells(text, NAME)))
    report = RunReport(
        checks=tuple(replace(said(c.label, "success"), index=c.cell.index) for c in checks)
    )
    assert checks
    assert list(unseen_checks(plan_source(text, NAME).plan, NAME, report)) == []


def test_what_earns_no_marks_is_advice() -> None:
    wrong = check(Q2, label("Q2", total=2.0), label("Bonus", passed=False))
    errors, advice = told(judge_solution(solution(), result(GOOD[0], wrong)))
    assert (errors, len(advice)) == ([], 1)
    unmarked = PLAN.model_copy(update={"marks": None})
    wrong = check(Q1, label("Q1", passed=False))
    errors, advice = told(judge_solution(solution(unmarked), result(wrong, GOOD[1])))
    assert (errors, len(advice)) == ([], 1)


def test_a_judge_without_a_result_is_advice() -> None:
    failed = replace(result(), problem="the judge has ended.", checks=())
    errors, advice = told(judge_solution(solution(), failed))
    assert errors == []
    assert advice == [
        f"{NAME}:1: the checks could not be judged apart from the answers: the judge has ended."
    ]


def test_a_label_that_random_numbers_decide_is_a_mistake() -> None:
    report = RehearsalReport({}, unsteady=(UnsteadyLabel(Q1, "Q1", "too far"),))
    errors, _ = told(judge_solution(solution(), result(rehearsal=report)))
    message = "whether 'Q1' passes depends on its random numbers: too far."
    remedy = "Seed them in the check, or allow for more difference."
    assert errors == [f"{NAME}:{LINES['Q1']}: {message} {remedy}"]


def junk(cell: int, name: str, kind: str, words: str, *labels: str) -> PassedJunk:
    return PassedJunk(cell, name, kind, words, labels)


def advised(*passed: PassedJunk, done: int = 9) -> list[str]:
    report = RehearsalReport({}, junk=passed, done=done, trials=9)
    errors, advice = told(judge_solution(solution(), result(rehearsal=report)))
    assert errors == []
    return advice


def test_junk_that_passes_is_told_with_the_condition_and_a_remedy() -> None:
    message = "the check 'Q1' passes though `err` is NaN: 'not err > 1' holds."
    remedy = "Compare by `<=` or `np.allclose`, which fail for NaN."
    advice = advised(junk(Q1, "err", "nan", "is NaN", "Q1"))
    assert advice == [f"{NAME}:{LINES['Q1']}: {message} {remedy}"]


def test_kinds_of_junk_are_told_together() -> None:
    kinds = ("nan", "zeros", "none", "text")
    (advice,) = advised(*(junk(Q1, "err", each, f"is {each}", "Q1") for each in kinds))
    assert "though `err` is nan, or is zeros, or is none, or …: 'not err" in advice


def test_junk_that_another_label_of_the_answer_finds_is_not_told() -> None:
    found = (junk(Q2, "x", "zeros", "is zero", "Q2"), junk(Q2, "f", "zeros", "is zero", "Bonus"))
    # `x` is an answer of Q2 only, so no check finds it; Bonus has no marks, and does not use `f`.
    (advice,) = advised(*found)
    assert f"{LINES['Q2']}: the check 'Q2' passes though `x` is zero." in advice
    more = planned(IMPORTS, MARKS, ANSWERS, *CHECKS, 'check("Q1: x", [(x == 1, "x")])').plan
    report = RehearsalReport({}, junk=found, done=9, trials=9)
    assert judge_solution(solution(more), result(rehearsal=report)).advice == ()


NEVER = (NeverFailed(Q2, "Q2", "it is there"), NeverFailed(Q2, "Bonus", "it is there"))
CRASHED = (CrashedCheck(Q2, "x", "is empty"), CrashedCheck(Q2, "x", "is NaN"))


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (
            RehearsalReport({}, done=4, trials=9, missed=(Q2,)),
            "not all wrong answers were tried on this check",
        ),
        (
            RehearsalReport({}, done=9, trials=9, crashed=CRASHED),
            "the process of this check ends without a result if `x` is empty.",
        ),
        (
            RehearsalReport({}, never=NEVER),
            "no wrong answer that was tried makes 'it is there' of 'Q2' fail. Let it depend on",
        ),
    ],
)
def test_what_wrong_answers_did_not_show_is_advice(report: RehearsalReport, said: str) -> None:
    errors, (advice,) = told(judge_solution(solution(), result(rehearsal=report)))
    assert errors == []
    assert f"{LINES['Q2']}: {said}" in advice


def test_a_release_that_earns_marks_is_a_mistake() -> None:
    empty = result(check(Q1, label("Q1")), check(Q2, label("Q2", passed=False), label("Bonus")))
    errors, advice = told(judge_empty(solution(), empty))
    assert advice == []
    assert len(errors) == 1
    assert (
        f"{NAME}:{LINES['Q1']}: the check 'Q1' passes when it is judged, though nothing is "
        "answered yet ('the message'). Let it wait"
    ) in errors[0]


def test_a_release_that_earns_a_part_is_advice_and_told_once() -> None:
    both = label("Q2")
    failed = JudgedCondition("other", 1.0, False)
    part = replace(both, passed=False, total=2.0, conditions=(*both.conditions, failed))
    empty = result(check(Q1, state="not run", reason="no answer"), check(Q2, part))
    errors, advice = told(judge_empty(solution(), empty))
    assert (errors, len(advice)) == ([], 1)
    assert "passes in part when it is judged" in advice[0]
    known = RunReport(checks=(said("Q2", "partial"),))
    assert told(judge_empty(solution(release=known), empty)) == ([], [])


def test_a_check_that_fails_in_the_release_and_passes_when_it_is_judged_is_a_mistake() -> None:
    """The judge imports what the author's solution imports, whatever an answer binds."""
    given = solved("from math import gcd", "def lcm(a, b): return a * b // gcd(a, b)")
    alone = 'check("Q1", [(gcd(4, 6) == 2, "gcd")])'
    both = 'check("Q2", [(gcd(4, 6) == 2, "gcd"), (lcm(4, 6) == 12, "lcm")])'
    plan = planned(IMPORTS, MARKS, given, alone, both).plan
    results = (
        JudgedCheck(part.cell, part.line, False, "judged", "", (label(name),), (), ())
        for part, name in zip(plan.checks, ("Q1", "Q2"), strict=True)
    )
    failed = RunReport(checks=(said("Q1", "danger"), said("Q2", "danger")))
    errors, advice = told(judge_empty(solution(plan, failed), result(*results)))
    assert (len(errors), advice) == (2, [])
    assert "passes when it is judged" in errors[0]
    remedy = "Judging imports `gcd` as the solution does, whatever an answer binds."
    assert f"answered yet ('the message'). {remedy}" in errors[0]
    assert "Let it wait for an answer" in errors[1]


def test_the_interface_is_one_line() -> None:
    answers = {
        "finite_diff": "(x, y) → array",
        "integral": "float",
        "x": "array float64 (50,)",
        "y": "array float64 (50,)",
    }
    assert (
        interface(answers)
        == "integral: float; x, y: array float64 (50,); finite_diff(x, y) → array"
    )


def unanswered(check: JudgedCheck) -> JudgedCheck:
    """Return the result of a check of the release."""
    labels = (replace(each, earned=0.0, passed=False, conditions=()) for each in check.labels)
    return replace(check, labels=tuple(labels))


CONTRACT = Contract("0" * 64, (), ())


class Judged(NoRuns):
    """Judges nothing: the last check of the solution has a state, and all others pass."""

    def __init__(self, state: JudgedState) -> None:
        self.kept: list[Contract] = []
        self._state = state

    async def judge(self, trial: AuthorTrial, _: object, /) -> JudgingResult:
        checks = everything_passed(trial.files.plan)
        if trial.files.contract is None:
            last = replace(checks[-1], state=self._state, reason="the worker has ended")
            checks = (*checks[:-1], last)
        else:
            checks = tuple(map(unanswered, checks))
        return JudgingResult("", checks, FINISHED, protected=True, contract=CONTRACT)

    async def keep(self, trial: AuthorTrial, contract: Contract, /) -> None:
        self.kept.append(contract)


async def kept_after(state: JudgedState, place: Path) -> list[Contract]:
    """Return the contracts that are kept if the last check of the solution has a state."""
    judged = Judged(state)
    subject = Subject(
        "hw1.py",
        plan_source(SOURCE, "hw1.py").plan,
        Version(SOURCE, "hw1.py", place, RunReport()),
        Version(release_of(SOURCE), "hw1.py", place, RunReport()),
    )
    assert not (await rehearse(subject, judged, lambda _: None)).errors
    return judged.kept


@pytest.mark.parametrize(
    ("state", "kept"), [("judged", [CONTRACT]), ("needs attention", []), ("not run", [])]
)
async def test_a_contract_is_kept_only_if_every_check_was_judged(
    tmp_path: Path, state: JudgedState, kept: list[Contract]
) -> None:
    assert await kept_after(state, tmp_path) == kept
