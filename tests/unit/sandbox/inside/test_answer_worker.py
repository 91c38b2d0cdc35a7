"""The worker: snapshots of the interface, answers to requests, and a process for each check."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sandbox.inside.codec import HandleFacts, shared_objects
from tests.unit.sandbox.inside.judging import Worker, notebook, worker

pytestmark = pytest.mark.full

CHECK = "assert False, 'a check'"
NOTEBOOK = notebook(
    "items = [1, 2]\nfailed = 1\n1 / 0",
    "values = [1, 2]\ndef double(v):\n    print('seen')\n    return 2 * v",
    "values.append(3)\nneedy = failed",
    "def change(v):\n    v.append(1)\n    return v\ndef leave(): raise SystemExit('bye')",
    "state = []\ndef keep(v):\n    state.append(v)\n    return len(state)",
    "import os as _os, time as _time\ndef hang(): _time.sleep(600)\ndef vanish(): _os._exit(3)",
    "huge = [0] * 300_000\nloop = []\nloop.append(loop)",
    "counted = iter([1])",
    "class Above:\n    def __hash__(self): return 1\n"
    "class Unhashable(Above):\n    def __eq__(self, other): return True\n"
    "    def __call__(self): return 7\nunhashable = Unhashable()",
    CHECK,
)
INTERFACE = (
    *("items", "values", "double", "change", "leave", "keep", "hang", "vanish", "huge", "loop"),
    *("counted", "needy", "failed", "unhashable"),
)


def payload(*arguments: object, seeds: object = None) -> bytes:
    """Return a call's arguments."""
    data: bytes = shared_objects.dumps((arguments, {}, seeds, {}), lambda value: None)
    return data


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    digest = hashlib.sha256(CHECK.encode()).hexdigest()
    with worker(tmp_path_factory.mktemp("worker"), NOTEBOOK, INTERFACE, [digest]) as started:
        yield started


@pytest.fixture
def serving(running: Worker) -> Iterator[Worker]:
    running.begin()
    yield running
    running.end()


def number(serving: Worker, name: str) -> int:
    kind, facts, _ = serving.ask("pull", name)
    assert kind == "value"
    assert isinstance(facts, HandleFacts)
    found: int = facts.number
    return found


def test_a_name_has_the_value_of_the_moment_when_its_cell_ended(serving: Worker) -> None:
    assert serving.ask("pull", "values") == ["value", [1, 2], ""]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("failed", "its cell failed (ZeroDivisionError)"),
        ("needy", "a cell that it needs did not run"),
        ("other", "no cell that ran defines it"),
    ],
)
def test_a_name_without_a_value_has_a_reason(serving: Worker, name: str, reason: str) -> None:
    assert serving.ask("pull", name) == ["missing", reason]


@pytest.mark.parametrize(("name", "why"), [("huge", "200000 parts"), ("loop", "refers to itself")])
def test_a_value_over_a_limit_is_refused_with_a_sentence(
    serving: Worker, name: str, why: str
) -> None:
    kind, sentence = serving.ask("pull", name)
    assert kind == "refused"
    assert f"`{name}` cannot be carried" in sentence
    assert why in sentence


def test_a_cell_that_marimo_cannot_run_is_told_with_the_reason(tmp_path: Path) -> None:
    text = notebook(
        "ok = 1", "from math import *\nstar = 1", "if ok:\n    back = 1\n    return back"
    )
    refused = "Importing symbols with `import *` is not allowed in marimo"
    outside = "'return' outside function"
    with worker(tmp_path, text, ("star", "back"), []) as started:
        started.begin()
        for name, why in (("star", refused), ("back", outside)):
            reason = f"its cell cannot run (SyntaxError: {why})"
            assert started.ask("pull", name) == ["missing", reason]
        told = {line["message"]: line["line"] for line in started.lines() if line.get("message")}
        assert told == {refused: 1, outside: 3}


def test_the_checks_of_the_submission_did_not_run(serving: Worker) -> None:
    serving.ask("pull", "values")
    states = {line["index"]: line["status"] for line in serving.lines() if line["kind"] == "cell"}
    assert states == {0: "error", 1: "ok", 2: "skipped", 9: "skipped"} | dict.fromkeys(
        range(3, 9), "ok"
    )
    assert serving.lines()[-1] == {"kind": "end"}


def test_an_answer_has_what_a_check_that_is_left_out_imports(tmp_path: Path) -> None:
    check = "import no_such_module, math\nimport os\nos = 1\nbound = 2\nassert False"
    text = notebook(check, "whole = math.floor(2.5)", "own = bound", "path = os")
    digest = hashlib.sha256(check.encode()).hexdigest()
    with worker(tmp_path, text, ("whole", "own", "path"), [digest]) as started:
        started.begin()
        assert started.ask("pull", "whole") == ["value", 2, ""]
        for name in ("own", "path"):
            found = started.ask("pull", name)
            assert found == ["missing", "a cell that it needs did not run"]


def test_a_call_returns_its_result_and_what_was_printed(serving: Worker) -> None:
    answer = serving.ask("call", number(serving, "double"), [], data=payload(21))
    assert answer == ["value", (42, (), -1, {}), "seen\n"]


def test_a_changed_argument_comes_back_only_if_it_is_wanted(serving: Worker) -> None:
    change = number(serving, "change")
    assert serving.ask("call", change, [0], data=payload([7]))[1] == ([7, 1], ((7, 1),), 0, {})
    assert serving.ask("call", change, [], data=payload([7]))[1] == ([7, 1], (), 0, {})


def test_an_exception_arrives_as_names_and_text(serving: Worker) -> None:
    answer = serving.ask("call", number(serving, "leave"), [], data=payload())
    assert answer == ["error", ["SystemExit", "BaseException", "object"], "bye", ""]


def test_an_iterator_ends_with_a_word_of_its_own(serving: Worker) -> None:
    counted = number(serving, "counted")
    assert serving.ask("next", counted) == ["value", 1, ""]
    assert serving.ask("next", counted) == ["stop", ""]


def test_a_special_method_that_a_class_has_withdrawn_is_an_error_and_no_other_call(
    serving: Worker,
) -> None:
    unhashable = number(serving, "unhashable")
    kind, names, *_ = serving.ask("special", unhashable, "__hash__", [], data=payload())
    assert (kind, names[0]) == ("error", "TypeError")


def test_an_unknown_object_is_an_error_and_not_the_end(serving: Worker) -> None:
    assert serving.ask("call", 10**6, [], data=payload())[0] == "error"
    assert serving.ask("pull", "values")[0] == "value"


def test_a_function_can_be_an_argument_with_all_that_it_names(serving: Worker) -> None:
    def outer(value: int) -> int:
        return value + offset

    offset = 5
    apply = number(serving, "double")
    arguments = shared_objects.dumps(((outer,), {}, None, {}), lambda value: None)
    kind, names, *_ = serving.ask("call", apply, [], data=arguments)
    assert (kind, names[0]) == ("error", "TypeError")  # 2 * function: it arrived as one


@pytest.mark.parametrize("times", [1, 2])
def test_each_check_has_a_process_of_its_own(serving: Worker, times: int) -> None:
    """The second run finds the state that the first one found."""
    keep = number(serving, "keep")
    assert serving.ask("call", keep, [], data=payload(1))[1][0] == 1
    assert serving.ask("call", keep, [], data=payload(1))[1][0] == 2


def test_the_end_of_a_checks_process_is_told(serving: Worker) -> None:
    answer = serving.ask("call", number(serving, "vanish"), [], data=payload())
    assert answer == ["gone", "the process that answers has ended"]


@pytest.mark.parametrize("junk", [b"", b"x" * 100_000])
def test_after_a_call_that_never_ends_the_next_check_is_served(
    running: Worker, junk: bytes
) -> None:
    """Also with requests that the killed process has not read."""
    running.begin()
    hang = number(running, "hang")
    running.requests.write([99, "call", 0, hang, []], [payload()], seconds=5)
    running.requests.write([99, "call", 0, hang, []], [junk[:50_000]], seconds=5)
    running.end(os.urandom(16))
    running.begin()
    assert running.ask("pull", "values")[0] == "value"
    running.end()


def test_the_worker_ends_when_the_judge_is_gone(tmp_path: Path) -> None:
    with worker(tmp_path, notebook("x = 1"), ["x"]) as started:
        started.begin()
        assert started.ask("pull", "x")[1] == 1
        os.close(started.ends["control"])
        assert started.process.wait(10) == 0


def test_a_file_that_is_no_notebook_has_no_names(tmp_path: Path) -> None:
    with worker(tmp_path, "x = (", ["x"]) as started:
        started.begin()
        assert started.ask("pull", "x")[0] == "missing"
        assert started.lines()[0]["kind"] == "failure"


def test_where_no_process_can_be_forked_the_worker_itself_answers(tmp_path: Path) -> None:
    full = "import os\ndef _no_fork(): raise BlockingIOError\nos.fork = _no_fork\nx = 1"
    with worker(tmp_path, notebook(full), ["x"]) as started:
        for _ in range(2):
            started.begin()
            assert started.ask("pull", "x") == ["value", 1, ""]
            started.end()
