"""The rows of grading jobs, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from mograder.core.errors import Conflict
from mograder.store.grading_jobs import JobRow, JobState, KeptJobs
from tests.support.threads import at_once

NOW = datetime(2026, 11, 20, 9, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def jobs(engine: Engine) -> KeptJobs:
    """The table, empty."""
    return KeptJobs(engine)


def add(jobs: KeptJobs, item: str = "A1", *students: str) -> JobRow:
    """Add a job that an instructor asked for."""
    return jobs.add(item, "prof", students, NOW, force=True, failed_only=False)


def test_a_job_is_found_as_it_was_added(jobs: KeptJobs) -> None:
    row = add(jobs, "A1", "alice", "jürgen")
    assert jobs.of("A1") == row
    assert (row.state, row.students, row.force) == (JobState.QUEUED, ("alice", "jürgen"), True)
    assert (row.asked_at, row.started_at, row.ended_at) == (NOW, None, None)
    assert jobs.of("A2") is None


def test_jobs_are_open_in_the_order_of_arrival_until_they_end(jobs: KeptJobs) -> None:
    first, second, third = add(jobs, "B"), add(jobs, "A"), add(jobs, "C")
    jobs.begin(second.number, NOW)
    jobs.end(third.number, JobState.FAILED, NOW, "why")
    assert [row.number for row in jobs.open()] == [first.number, second.number]


def test_an_item_has_one_job_and_a_new_one_replaces_the_one_that_ended(jobs: KeptJobs) -> None:
    first = add(jobs)
    with pytest.raises(Conflict, match="A1 is being graded already"):
        add(jobs)
    later = add(jobs, "A2")
    jobs.end(first.number, JobState.DONE, NOW)
    again = add(jobs)
    assert jobs.of("A1") == again
    assert [row.item for row in jobs.open()] == ["A2", "A1"]
    assert again.number > later.number


def test_two_requests_at_the_same_time_make_one_job(jobs: KeptJobs) -> None:
    def ask(_: int) -> bool:
        try:
            add(jobs)
        except Conflict:
            return False
        return True

    assert at_once(4, ask).count(True) == 1


def test_a_job_that_is_run_again_counts_from_the_start(jobs: KeptJobs) -> None:
    row = add(jobs)
    assert jobs.begin(row.number, NOW)
    problems = [("bob", "it's \0 a link"), *[("", "x" * 2000)] * 300]
    jobs.count(row.number, total=9, completed=4, attention=1, problems=problems)
    counted = jobs.of("A1")
    assert counted is not None
    assert (counted.total, counted.completed, counted.attention) == (9, 4, 1)
    assert counted.problems[0] == ("bob", "it's � a link")
    assert (len(counted.problems), len(counted.problems[1][1])) == (200, 1000)
    later = NOW + timedelta(hours=1)
    assert jobs.begin(row.number, later)
    assert jobs.of("A1") == replace(row, state=JobState.RUNNING, started_at=later)


def test_a_job_that_has_ended_stays_as_it_ended(jobs: KeptJobs) -> None:
    row = add(jobs)
    jobs.end(row.number, JobState.CANCELLED, NOW)
    jobs.end(row.number, JobState.FAILED, NOW, "late")
    assert not jobs.begin(row.number, NOW)
    found = jobs.of("A1")
    assert found == replace(row, state=JobState.CANCELLED, ended_at=NOW)


def test_a_long_error_with_any_characters_is_kept_in_short(jobs: KeptJobs) -> None:
    row = add(jobs)
    jobs.end(row.number, JobState.FAILED, NOW, "\0\ud800" + "x" * 5000)
    found = jobs.of("A1")
    assert found is not None
    assert len(found.error) == 1000
