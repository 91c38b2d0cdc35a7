"""The plan as JSON: the same text for the same plan."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from mograder.notebook.grading.grading_plan import GradingPlan, render_plan
from mograder.notebook.grading.grading_split import plan_source
from tests.unit.notebook.grading_sources import IMPORTS, MARKS, NAME, named, planned, solved, source

CELLS = (
    IMPORTS,
    MARKS,
    "a, b, c, d = 1, 2, 3, 4",
    solved("x = 1", "y = 2", "z = 3"),
    'check("Q1: ä", [(a + b + c + d == x + y + z, "")])',
    "# mograder: unprotected\n" + 'check("Q2", [(a + b + c + d == x + y + z, "")])',
    named("test_Q2", "assert x"),
)


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = planned(*CELLS).plan
    assert GradingPlan.model_validate_json(render_plan(plan)) == plan


def test_the_digest_is_that_of_the_sources_bytes() -> None:
    text = source(*CELLS).replace("\n", "\r\n")
    plan = plan_source(text, NAME).plan
    assert plan.source_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert plan != plan_source(text.replace("\r\n", "\n"), NAME).plan


@pytest.mark.full
def test_the_text_of_a_plan_depends_on_nothing_but_the_source() -> None:
    program = (
        "import sys\nfrom mograder.notebook.grading.grading_plan import render_plan\n"
        "from mograder.notebook.grading.grading_split import plan_source\n"
        "sys.stdout.write(render_plan(plan_source(sys.stdin.read(), 'hw.py').plan))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=source(*CELLS),
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert texts == {render_plan(planned(*CELLS).plan)}


def test_a_label_that_cannot_be_encoded_is_written_as_the_runtime_does() -> None:
    plan = planned(
        MARKS.replace('"Q2"', r'"Q\ud800"'), solved("x = 1"), r'check("Q\ud800: a", [(x, "")])'
    ).plan
    facts = plan.checks[0].check
    assert facts is not None
    assert (facts.labels[0].label, facts.labels[0].key) == ("Q?: a", "Q?")
    assert plan.marks == {"Q1": 10.0, "Q?": 5.0}
    assert GradingPlan.model_validate_json(render_plan(plan)) == plan
