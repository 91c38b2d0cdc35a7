"""The visible files of a submission's worker and judge."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from mograder.sandbox.isolation.policy import (
    SANDBOXED_SESSION,
    WORK,
    Plan,
    judge_plan,
    unconfined_judge,
    worker_plan,
    zygote_group_plan,
)
from mograder.sandbox.protocol import AnswerJudge, AnswerWorker, Deadlines
from tests.unit.sandbox.isolation.test_policy import HOST, LIMITS, ROOT

COPY, FOLDER = Path("/srv/state/workers/1"), Path("/srv/state/judges/abc")
ENVIRONMENT = Path("/srv/course/environments/k")
ENDS = (5, 6, 7, 8)


def worker() -> Plan:
    request = AnswerWorker(
        session_id="worker-1",
        directory=COPY,
        notebook="A1.py",
        environment=ENVIRONMENT,
        uid_slot=1,
        limits=LIMITS,
        interface=("x",),
        skip=(3, "ab"),
    )
    return worker_plan(request, (ROOT,), HOST, SANDBOXED_SESSION, ENDS)


def judge(*, records: bool = False) -> AnswerJudge:
    seconds = Deadlines(notebook=1, call=2, check=3, submission=4)
    return AnswerJudge(
        session_id="judge-12",
        directory=FOLDER,
        notebook="plan.json",
        environment=ENVIRONMENT,
        uid_slot=2,
        limits=LIMITS,
        seconds=seconds,
        seed="s",
        records=records,
    )


def judging(*, records: bool = False) -> Plan:
    return judge_plan(judge(records=records), (ROOT,), HOST, SANDBOXED_SESSION, (*ENDS, 9))


def test_a_worker_has_its_copy_and_nothing_of_the_course() -> None:
    own = [bind.source for bind in worker().binds if bind.source != HOST.scripts]
    assert own == [ROOT, ENVIRONMENT, COPY]
    assert [bind.target for bind in worker().binds if bind.writable] == [WORK]
    assert not worker().network
    told = json.loads(worker().argv[2])
    assert (told["answers"], told["interface"], told["skip"]) == (8, ["x"], [3, "ab"])


def test_a_judge_has_no_file_of_the_submission_and_writes_nowhere() -> None:
    own = [bind.source for bind in judging().binds if bind.source != HOST.scripts]
    assert own == [ROOT, ENVIRONMENT, FOLDER, FOLDER / "files"]
    assert not [bind for bind in judging().binds if bind.writable]
    assert not judging().network
    told = json.loads(judging().argv[2])
    assert told["plan"] == "/opt/mograder/judged/plan.json"
    assert told["contract"] == "/opt/mograder/judged/contract.json"
    assert json.loads(judging(records=True).argv[2])["contract"] is None
    assert told["private"] == 9


def test_worker_and_judge_share_no_path_but_environment_and_programs() -> None:
    both = {bind.source for bind in worker().binds} & {bind.source for bind in judging().binds}
    assert both == {ROOT, ENVIRONMENT, HOST.scripts}


def test_only_the_zygote_of_judges_sees_their_directory() -> None:
    plain = zygote_group_plan(ENVIRONMENT, (ROOT,), HOST)
    of_judges = zygote_group_plan(ENVIRONMENT, (ROOT,), HOST, FOLDER)
    assert [bind for bind in of_judges.binds if bind not in plain.binds] == [
        bind for bind in judging().binds if FOLDER in (bind.source, *bind.source.parents)
    ]
    assert of_judges.directory == WORK


def test_without_a_sandbox_a_judge_writes_nothing_into_its_directory() -> None:
    inside = unconfined_judge(HOST, directory=FOLDER, environment=ENVIRONMENT)
    plan = judge_plan(judge(), (ROOT,), HOST, inside, (*ENDS, 9))
    assert plan.directory == PurePosixPath(FOLDER / "files")
    assert dict(plan.variables)["XDG_CACHE_HOME"] == "/tmp/cache"
