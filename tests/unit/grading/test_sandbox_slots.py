"""The host uids of a command's sandboxes are no student's."""

from __future__ import annotations

from pathlib import Path

from mograder.grading.validate import Submission
from mograder.grading.workbench import SandboxSlots
from mograder.sandbox.execution.report import ExecutionRequest
from mograder.sandbox.isolation.bwrap import YARD_UIDS
from mograder.sandbox.protocol import COMMANDS_SLOT, Limits

LIMITS = Limits(processes=8, open_files=64, file_size_mb=8, tmp_mb=8)
MOST_STUDENTS = 20_000


def test_a_command_runs_submissions_under_uids_that_no_student_gets(tmp_path: Path) -> None:
    slots = SandboxSlots()
    with slots.pair() as first, slots.pair() as second:
        given = {*first, *second}
    with slots.pair() as again:
        assert again == first
    given.add(Submission("", "A1.py", tmp_path, LIMITS, 1).uid_slot)
    given.add(ExecutionRequest("", "A1.py", tmp_path, LIMITS, 1).uid_slot)
    assert len({*first, *second}) == 4
    assert min(given) == COMMANDS_SLOT > MOST_STUDENTS
    assert max(given) < YARD_UIDS, "a slot above has no zygote"
