"""A node's own rules: how long its lease counts, when it ends, which paths it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import Forbidden, InvalidInput
from mograder.sandbox.nodes.node_drain import Drain
from mograder.sandbox.nodes.node_lease import MARGIN_SECONDS, NodeLease
from mograder.sandbox.nodes.node_paths import NodePaths
from mograder.sandbox.nodes.node_use import NodeUse
from mograder.sandbox.protocol import (
    AnswerJudge,
    AnswerWorker,
    Deadlines,
    Ended,
    JudgeSubmission,
    Limits,
    Measured,
    SessionInfo,
    SessionUse,
    Warm,
)

LIMITS = Limits(processes=64, open_files=256, file_size_mb=16, tmp_mb=32)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_counts_from_when_the_status_was_sent_less_the_margin() -> None:
    clock = Clock()
    lease = NodeLease(clock)
    number = lease.next_number()
    clock.now += 4  # the hub was slow
    end = lease.end_of(number, 12)
    assert end == 1000 + 12 - MARGIN_SECONDS
    lease.held_until(end)
    assert lease.seconds_left() == pytest.approx(5)
    assert not lease.has_lapsed()
    clock.now = end
    assert lease.seconds_left() == 0
    assert lease.has_lapsed()
    assert not lease.has_lapsed(), "it is told once"


def test_of_several_hubs_the_last_lease_counts_and_a_late_answer_gives_none() -> None:
    clock = Clock()
    lease = NodeLease(clock)
    first, second = lease.next_number(), lease.next_number()
    lease.held_until(lease.end_of(second, 30))
    lease.held_until(lease.end_of(first, 12))
    assert lease.seconds_left() == 27
    late = NodeLease(clock)
    number = late.next_number()
    clock.now += 60
    late.held_until(late.end_of(number, 12))
    assert late.seconds_left() == 0
    assert not late.has_lapsed()


def test_a_status_that_was_not_sent_lately_gives_no_lease() -> None:
    lease = NodeLease(Clock())
    first = lease.next_number()
    with pytest.raises(InvalidInput):
        lease.end_of(first + 1, 12)
    for _ in range(200):
        lease.next_number()
    with pytest.raises(InvalidInput):
        lease.end_of(first, 12)


def test_a_drain_ends_when_the_node_is_empty_or_its_time_is_over() -> None:
    clock = Clock()
    drain = Drain(20, clock)
    assert not drain.is_over(busy=False)
    drain.leave(hurry=False)
    assert drain.draining
    assert drain.seconds_left() is None
    assert not drain.is_over(busy=True)
    assert drain.is_over(busy=False)
    drain.stay()
    assert not drain.is_over(busy=False)
    drain.leave(hurry=True)
    drain.stay()
    assert drain.is_over(busy=False), "its engine has asked for the end, and kills it otherwise"
    clock.now += 19
    assert not drain.is_over(busy=True)
    clock.now += 1
    assert drain.is_over(busy=True)


def test_a_second_signal_ends_it_at_once_and_a_hubs_wish_never_does() -> None:
    drain = Drain(20)
    drain.wish(draining=True)
    assert drain.draining
    assert not drain.is_over(busy=False)
    drain.leave(hurry=True)
    assert not drain.is_over(busy=True)
    drain.leave(hurry=True)
    assert drain.is_over(busy=True)


def test_sessions_end_evenly_over_the_second_half_of_a_drain() -> None:
    clock = Clock()
    drain, sessions = Drain(120, clock), 60
    assert (drain.due(sessions), drain.seconds_granted()) == (0, None)
    drain.leave(hurry=True)
    assert (drain.due(sessions), drain.seconds_granted()) == (0, 60)
    clock.now += 60
    assert (drain.due(sessions), drain.seconds_granted()) == (0, 0)
    ends = []
    for _ in range(40):
        clock.now += 1.5
        ends.append(drain.due(sessions))
        sessions -= ends[-1]
    assert sessions == 0
    assert set(ends) == {1, 2}


def test_sessions_that_leave_by_themselves_are_not_replaced_by_others() -> None:
    clock = Clock()
    drain = Drain(20, clock)
    drain.leave(hurry=True)
    clock.now += 12
    assert drain.due(10) == 2
    clock.now += 3
    assert drain.due(4) == 0, "five may still go on"
    drain.leave(hurry=True)
    assert drain.due(4) == 4


def test_a_drain_without_time_ends_all_at_its_end() -> None:
    drain = Drain(0)
    drain.leave(hurry=True)
    assert drain.due(5) == 0
    assert drain.is_over(busy=True)


def test_the_paths_of_worker_and_judge_are_both_looked_at(tmp_path: Path) -> None:
    share, other = tmp_path / "share", tmp_path / "other"
    paths = NodePaths((share,), tmp_path / "environments")
    shared: dict[str, object] = {
        "notebook": "A1.py",
        "environment": Path("/hub/environments/0123456789"),
        "limits": LIMITS,
    }

    def judging(worker: Path, judge: Path) -> JudgeSubmission:
        seconds = Deadlines(notebook=1, call=1, check=1, submission=1)
        return JudgeSubmission(
            worker=AnswerWorker.model_validate(
                {
                    **shared,
                    "session_id": "worker-1",
                    "directory": worker,
                    "uid_slot": 1,
                    "interface": (),
                    "skip": (),
                }
            ),
            judge=AnswerJudge.model_validate(
                {
                    **shared,
                    "session_id": "judge-01",
                    "directory": judge,
                    "uid_slot": 2,
                    "seconds": seconds,
                    "seed": "s",
                }
            ),
            seconds=5,
        )

    found = paths.located(judging(share / "w", share / "j"))
    assert isinstance(found, JudgeSubmission)
    own = tmp_path / "environments" / "0123456789"
    assert found.worker.environment == found.judge.environment == own
    assert isinstance(found.worker, AnswerWorker)
    assert isinstance(found.judge, AnswerJudge)
    for worker, judge in ((other, share / "j"), (share / "w", other)):
        with pytest.raises(Forbidden):
            paths.located(judging(worker, judge))


def test_an_environment_is_this_nodes_own_whatever_its_path_on_the_hub(tmp_path: Path) -> None:
    paths = NodePaths((), tmp_path)
    assert paths.located(Warm(environment=Path("/x/0123456789"))) == Warm(
        environment=tmp_path / "0123456789"
    )
    for name in ("/etc/..", "/", "/x/short", "/x/.building-1234"):
        with pytest.raises(InvalidInput):
            paths.located(Warm(environment=Path(name)))


def test_the_use_of_sessions_that_have_ended_is_not_counted() -> None:
    use = NodeUse()
    uses = (
        SessionUse(session_id="session-a", memory=100, cpu=0, processes=1),
        SessionUse(session_id="session-b", memory=30, cpu=0, processes=1),
        SessionUse(session_id="a-run-of-one", memory=7, cpu=0, processes=1),
    )
    use.hear(Measured(sessions=uses, overhead=1000, runs=7))
    live = tuple(
        SessionInfo(session_id=each, socket=Path("/s")) for each in ("session-a", "session-b")
    )
    use.keep(live)
    assert use.total == 1137
    use.forget(Ended(session_id="session-a", status=0, log_tail=""))
    assert use.total == 1037
    use.hear(Measured(overhead=900))
    assert use.total == 930
