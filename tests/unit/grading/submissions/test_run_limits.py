"""The limits of graded notebooks: ``[rlimits]`` and options make them stricter, never wider."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from annotated_types import Le

from mograder.core.sections.settings_model import RlimitsSettings
from mograder.grading.submissions.grading_tools import lowered
from mograder.sandbox.execution.sandboxed_runner import longest
from mograder.sandbox.protocol import Deadlines, JudgeSubmission, Limits, timed

LIMITS = Limits(
    processes=256, open_files=1024, file_size_mb=10, tmp_mb=10, memory_mb=2048, memory_soft_mb=1500
)


def test_unset_and_0_change_nothing() -> None:
    assert lowered(LIMITS, RlimitsSettings()) == LIMITS
    off = RlimitsSettings.model_validate({"nproc": 0, "nofile": 0, "as": 0})
    assert lowered(LIMITS, off) == LIMITS


def test_rlimits_of_0_3_16_make_limits_stricter() -> None:
    rlimits = RlimitsSettings.model_validate({"nproc": 512, "nofile": 256, "as": 1_073_741_824})
    found = lowered(LIMITS, rlimits)
    assert (found.processes, found.open_files, found.memory_mb) == (256, 256, 1024)
    assert found.memory_soft_mb == 0
    assert lowered(LIMITS, RlimitsSettings.model_validate({"as": 1})).memory_mb == 1


@pytest.mark.parametrize(("wanted", "memory"), [(100, 100), (4096, 2048)])
def test_the_option_for_memory_counts_before_the_setting(wanted: int, memory: int) -> None:
    rlimits = RlimitsSettings.model_validate({"as": 1_073_741_824})
    assert lowered(LIMITS, rlimits, wanted).memory_mb == memory
    unlimited = LIMITS.model_copy(update={"memory_mb": 0})
    assert lowered(unlimited, rlimits, wanted).memory_mb == wanted


def test_no_part_of_a_submission_takes_longer_than_its_time() -> None:
    assert timed(Deadlines(), 5) == Deadlines(call=5, check=5, submission=5, notebook=5)
    assert timed(Deadlines(), 300) == Deadlines()


def test_more_time_for_all_checks_is_more_for_each_check_and_each_call() -> None:
    longer = Deadlines(call=20, check=120, submission=600, notebook=600)
    assert timed(Deadlines(), 600) == longer
    assert timed(Deadlines(call=25), 600).call == 25


@pytest.mark.parametrize("rehearse", [False, True])
def test_a_supervisor_accepts_every_time_that_a_course_can_set(rehearse: bool) -> None:
    assert timed(Deadlines(), 0).notebook == 1
    deadlines = timed(Deadlines(), 100_000)
    Deadlines(**asdict(deadlines))
    (most,) = (e.le for e in JudgeSubmission.model_fields["seconds"].metadata if isinstance(e, Le))
    assert isinstance(most, float)
    assert longest(deadlines, rehearse=rehearse) <= most
