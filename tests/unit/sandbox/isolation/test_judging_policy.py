"""The visible files of a submission's worker and judge."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest

from mograder.sandbox.inside import serve
from mograder.sandbox.isolation.policy import (
    CELLRUN,
    JUDGE,
    PROGRAMS,
    SANDBOXED_SESSION,
    WORK,
    WORKER,
    ZYGOTE,
    Plan,
    judge_plan,
    unconfined_judge,
    worker_plan,
    zygote_group_plan,
)
from mograder.sandbox.protocol import AnswerJudge, AnswerWorker, JudgeSeconds
from tests.unit.sandbox.isolation.test_policy import HOST, LIMITS, ROOT

INSIDE = Path(serve.__file__).parent
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
    seconds = JudgeSeconds(notebook=1, call=2, check=3, submission=4)
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
    assert told["seed"] == 9


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


@pytest.mark.parametrize("programs", [CELLRUN, WORKER, JUDGE, ZYGOTE])
def test_each_program_has_the_modules_that_it_imports(programs: Sequence[str]) -> None:
    names = {path.stem for path in INSIDE.glob("*.py")}
    found, waiting = set[str](), [programs[0].removesuffix(".py")]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        tree = ast.walk(ast.parse((INSIDE / f"{name}.py").read_text()))
        statements = [each for each in tree if isinstance(each, ast.Import)]
        imports = {alias.name for each in statements for alias in each.names}
        if name in ("value_encoder", "value_decoder"):  # load them when they are needed
            imports |= {each for each in names if each.endswith("_values")}
        if name == "answer_server":
            imports |= {"junk_answers", "value_decoder"}
        waiting += imports & names
    given = PROGRAMS if programs is ZYGOTE else programs
    assert {f"{name}.py" for name in found} == set(given)
