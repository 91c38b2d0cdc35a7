"""Runs the teacher's checks against the answers of a worker, and reports every condition.

Runs inside the judge's sandbox with the environment's own python. It has the plan with the hidden
tests, and no file of the submission; it imports the standard library, marimo, mograder's runtime,
and what the author's cells import. All that comes from the worker is data (``value_decoder.py``).

Usage: ``python answer_judge.py JSON`` with JSON ``{"report": 3, "control": 4, "requests": 5,
"answers": 6, "rlimits": {}, "caches": "", "plan": {…}, "contract": {…} or null, "seconds":
{"notebook": 60, "call": 5, "check": 20, "submission": 120}, "private": {"seed": "text", "texts":
{"area": "def area…"}}}``, where plan and contract may be paths, and ``private`` a descriptor to
read a line from, which comes when the worker's report is closed and questions may be asked: the
seed of random numbers, and what stands in the submission for an answer. Without a contract the
worker is the author's own solution, which is trusted, and a contract is recorded.

The process of each check is forked after the template, or runs it itself where the template leaves
threads behind, which a fork lacks: a query of polars there would wait for them for ever.

Checks without hidden tests are judged first: what an answer remembers of a hidden test cannot come
out in the message of a visible one.

``"rehearsal": {"least": 5, "trial": 2}`` then tries the author's checks (``answer_rehearsal.py``).

Lines of JSON are written to ``report``: ``{"kind": "given", "cell", "line", "error"}`` for a given
part that failed, ``"judged"`` for each check, ``"contract"`` if one was recorded, and at last
``"end"``; without that line nothing counts. A check is in one of these states:

- ``judged``: its conditions count; ``claims`` names what they rest on that the answer itself says;
- ``not run``: 0, for ``reason``: a name is missing, no answer came in time, or with these answers
  the check takes more time or memory than it may, which the author's own do not;
- ``needs attention``: the fault of the judge, so it is no result.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import json
import os
import pathlib
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import answer_calls  # type: ignore[import-not-found]  # in this file's directory
import answer_rehearsal  # type: ignore[import-not-found]
import answer_session  # type: ignore[import-not-found]
import cell_runner  # type: ignore[import-not-found]
import codec_rules as rules  # type: ignore[import-not-found]
import grading_contract  # type: ignore[import-not-found]
import judged_parts  # type: ignore[import-not-found]
import label_results  # type: ignore[import-not-found]
import own_modules  # type: ignore[import-not-found]
import stand_ins  # type: ignore[import-not-found]

_PULSE = 0.5
"""Seconds between interruptions of a check whose time is over."""
_GRACE = 5.0
"""Seconds beyond the time of a check after which its process is killed."""
_MOST_TOLD = 16 << 20
"""Bytes that the process of a check may report."""
_MOST_ROUNDS = 1000
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1
_STATES = ("judged", "not run", "needs attention")
_ENDS = ("report", "control", "requests", "answers")


def main(argv: list[str]) -> None:
    options = json.loads(argv[0])
    cell_runner.prepare_process(options)
    for name in _ENDS:
        os.set_inheritable(options[name], False)
    prepare_output()
    try:
        template = _templates.get(str(options["plan"]))
        if template is None:
            template = Template(options["plan"])
            template.parts.import_modules()  # before its threads are counted
            if options["contract"] is None:
                template.run()
            else:
                _run_unless_threads(template, [options[each] for each in _ENDS])
        _Judge(options, template).run()
    except BaseException:
        os.write(2, traceback.format_exc().encode())  # standard error was replaced above
        raise
    os._exit(0)


def _run_unless_threads(template: Template, ends: list[int]) -> None:
    """Run the template in a new process, which goes on as the judge unless threads are left there.

    If they are, this process goes on, without the template, but with what failed of it.
    """
    started = time.monotonic()
    reads, tells = os.pipe()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.close(reads)
        template.run()
        found = list(template.parts.failed.items()) if template.leaves_threads else None
        os.write(tells, json.dumps(found).encode() + b"\n")
        os.close(tells)
        if template.leaves_threads:
            os._exit(0)
        return
    os.close(tells)
    with os.fdopen(reads, "rb") as pipe:
        told = json.loads(pipe.readline() or b"null")
    if told is None:
        for each in ends:
            os.close(each)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    os.waitpid(child, 0)
    template.parts.failed.update(told)
    template.seconds = time.monotonic() - started


def prepare_output() -> None:
    """Keep output and figures from going anywhere, and let files beside the source be imported."""
    cell_runner.Tail()
    cell_runner.quiet_figures()
    # As in the worker: installed modules take precedence.
    here = str(pathlib.Path.cwd())
    sys.path[:] = [*(entry for entry in sys.path if entry != here), here]


class Template:
    """A plan and the names of its template, which a judge can go on from once it has run."""

    def __init__(self, plan: Any) -> None:
        self.plan = judged_parts.Plan(_read(plan))
        self.has_run = False
        """Whether this process has run it, or the zygote from which it was forked."""
        self.leaves_threads = False
        self.seconds = 0.0
        """How long it took in another process, if each check's process runs it again."""
        self.recorder = label_results.Recorder()
        self.recorder.install()
        self._notebook = contextlib.ExitStack()  # until the process ends
        self.parts = judged_parts.Parts(self.plan, self._notebook.enter_context(_notebook()))

    def run(self) -> None:
        answer_calls.seed_random(f"{self.plan.data['source_sha256']}:template")
        before = own_modules.threads()  # with those of numpy, which a fork makes anew
        self.parts.run_template()
        self.leaves_threads = own_modules.threads() > before
        self.has_run = True

    def prepare(self) -> Any:
        """Run the template for judges that are forked later; return what failed."""
        self.run()
        self.parts.compile_judged()
        for part in self.plan.data["judged"]:
            judged_parts.modules_named(part["code"])  # which is kept, for each judge to have it
        return self.parts.failed


_templates: dict[str, Template] = {}
"""Templates by the path of their plan, in the zygote of an assignment's judges."""


def open_template(plan: str) -> Template:
    """Return the template of the plan at a path, which judges of this process's will go on from."""
    template = _templates[plan] = Template(plan)
    return template


@contextlib.contextmanager
def _notebook() -> Iterator[Any]:
    """Yield the module of the author's names, with the context that marimo's functions need."""
    app = importlib.import_module("marimo").App()
    internal = importlib.import_module("marimo._ast.app").InternalApp(app)
    notebook = cell_runner.Notebook(internal, None, [], {}, {}, {})
    with cell_runner.notebook_context(notebook, "source.py") as module:
        yield module


def _read(given: Any) -> Any:
    if isinstance(given, str):
        return json.loads(pathlib.Path(given).read_text(encoding="utf-8"))
    return given


@dataclass
class _Verdict:
    """What came of a check, what it rests on that the answer itself says, and calls of answers.

    ``beyond`` is whether the answer has changed shared objects more than the author's does.
    """

    state: str = "judged"
    reason: str = ""
    results: list[Any] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    beyond: bool = False


def _verdict_of(told: dict[str, Any]) -> _Verdict:
    """Return the verdict in the report of a check's process, which an answer may have misled.

    Raises ``TypeError``, ``ValueError`` or ``KeyError`` if it is none.
    """
    found = _Verdict(**told)
    texts = (found.reason, *found.claims, *(each["call"] for each in found.calls))
    texts += tuple(each[name] for each in found.calls for name in each.keys() & {"result"})
    if found.state not in _STATES or not all(type(each) is str for each in texts):
        raise TypeError("not the verdict of a check")
    if type(found.beyond) is not bool:
        raise TypeError("not a truth value")
    found.results = [label_results.of_data(each) for each in found.results]
    return found


def _overfull(part: dict[str, Any]) -> _Verdict:
    if part["answers"]:
        return _Verdict("not run", "this check took too much memory with this answer")
    return _Verdict("needs attention", "the judge has no more memory")


def read_told(descriptor: int, seconds: float) -> tuple[bytes, bool]:
    """Return what a process writes, up to a limit, and whether that is all, in time."""
    end, data = time.monotonic() + seconds, b""
    while (left := end - time.monotonic()) > 0 and len(data) <= _MOST_TOLD:
        if not select.select([descriptor], [], [], left)[0]:
            break
        if not (got := os.read(descriptor, 1 << 16)):
            return data, True
        data += got
    return data, False


def _children() -> frozenset[int]:
    path = f"/proc/self/task/{os.getpid()}/children"
    # Not by pathlib: this runs between forks, after each of which what it uses is copied.
    with contextlib.suppress(OSError), open(path, "rb") as file:  # noqa: PTH123
        return frozenset(map(int, file.read().split()))
    return frozenset()


def _kill_all(child: int, others: frozenset[int]) -> None:
    """Kill a check's process and all that it has left behind, but not the ``others``."""
    waiting = {child}
    for _ in range(_MOST_ROUNDS):
        for each in waiting:
            with contextlib.suppress(OSError):
                os.kill(each, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.waitpid(each, 0)
        waiting = set(_children() - others)
        if not waiting:
            return


def _forked(
    work: Callable[[int], None], seconds: float, ended: Callable[[], None]
) -> tuple[bytes, bool]:
    """Return what ``work`` writes in a process of its own, and whether that has ended in time.

    ``ended`` is called once that process is killed, before what it has left behind is.
    """
    reads, tells = os.pipe()
    others = _children()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(reads)
            work(tells)
        os._exit(0)
    os.close(tells)
    try:
        return read_told(reads, seconds)
    finally:
        os.close(reads)
        os.kill(child, signal.SIGKILL)
        ended()
        _kill_all(child, others)


class _Judge:
    def __init__(self, options: dict[str, Any], template: Template) -> None:
        self._lines = label_results.JudgeLines(options["report"])
        self._seed = ""
        self._audit = judged_parts.Audit()
        self._private: int | dict[str, Any] = options["private"]
        # Become the parent of what a check's process leaves behind, so that it can be ended.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._rehearsal: dict[str, Any] | None = options.get("rehearsal")
        self._started = time.monotonic()
        self._plan, self._parts = template.plan, template.parts
        self._template = template
        limits = answer_session.Limits(**options["seconds"])
        ends = (options[name] for name in ("control", "requests", "answers"))
        self._session = answer_session.AnswerSession(*ends, limits)
        given = _read(options["contract"])
        self._contract: Any = None
        self._book: Any = grading_contract.Recording()
        if given is not None:
            self._contract = grading_contract.read_contract(given)
            self._book = grading_contract.Enforced(self._contract)
            if self._contract.source_sha256 != self._plan.data["source_sha256"]:
                raise ValueError("the contract belongs to another source")
        self._imports = {each["name"]: each["imported"] for each in self._plan.data["answers"]}
        self._recorder = template.recorder
        self._seen: list[Any] = []
        self._judged_before: dict[int, list[Any]] = {}
        self._asks_next = False
        """Whether the check after this one asks the worker for more than values."""

    def run(self) -> None:
        signal.signal(signal.SIGALRM, self._interrupt)
        for part in self._plan.data["template"]:
            if (why := self._parts.failed.get(part["cell"])) is not None:
                self._lines.say("given", cell=part["cell"], line=part["line"], error=why)
        self._session.wait()
        private = self._private
        if not isinstance(private, dict):
            with open(private, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor
                private = json.loads(pipe.readline())
        self._seed = private["seed"]
        answer_calls.know_texts(private["texts"])
        self._session.start_time()
        checks = sorted(self._plan.checks, key=lambda part: bool(part["check"]["hidden"]))
        # All are told at the end: what this process does between forks it copies at each of them.
        judged = []
        for number, (part, following) in enumerate(itertools.zip_longest(checks, checks[1:]), 1):
            self._session.later = len(checks) - number
            self._asks_next = following is not None and self._asks(following)
            judged.append((part, self._check(part)))
        for each in judged:
            self._tell(*each)
        if self._contract is None:
            labels = tuple(sorted(self._seen, key=lambda label: label.cell))
            contract = self._book.contract(self._plan.data["source_sha256"], labels)
            contract = replace(contract, copies=self._of_copies(contract))
            self._lines.say("contract", **asdict(contract))
            if self._rehearsal is not None:
                self._rehearse(contract, self._rehearsal)
        self._lines.say("end")

    def _of_copies(self, contract: Any) -> tuple[int, ...]:
        """Return the checks that the author's own solution does not pass with shared objects."""
        recording, self._book = self._book, grading_contract.Enforced(contract)
        self._session.start_time()
        found = []
        for part in self._plan.checks:
            verdict = self._attempt(part, self._seed, shares=True)
            before = self._judged_before.get(part["cell"], [])
            if verdict.state != "judged" or label_results.both(before, verdict.results) != before:
                found.append(part["cell"])
        self._book = recording
        return tuple(found)

    def _rehearse(self, contract: Any, seconds: dict[str, float]) -> None:
        rehearsal = answer_rehearsal.Rehearsal(
            *(self._plan, contract, self._session, self._lines.say, self._started),
            self._apart_from_here,
            **seconds,
        )

        def attempt(part: dict[str, Any], seed: str, trial: Any) -> Any:
            self._book = rehearsal.book
            shares = part["cell"] not in contract.copies
            return self._attempt(part, seed, trial, shares=shares)

        rehearsal.run(attempt, self._seed, self._judged_before)

    def _apart_from_here(self, work: Callable[[int], None], seconds: float) -> bytes:
        """Return what ``work`` writes in a process of its own, or here where none can be forked."""
        if not self._template.leaves_threads:
            return _forked(work, seconds + _GRACE, self._session.end)[0]
        with tempfile.TemporaryFile() as file:
            work(file.fileno())
            file.seek(0)
            self._session.end()
            return file.read()

    def _check(self, part: dict[str, Any]) -> _Verdict:
        """Return a check's verdict, with a process of the worker's own for it.

        The author's own solution is trusted: it is judged in this process, which records it.

        For others, first arguments and results are one object in both processes, so that the check
        sees what it would see in one process. If the answer has changed any of them beyond what the
        author's does, what holds must hold without that, too: an emptied argument equals an empty
        result.
        """
        if self._contract is None:
            return self._attempt(part, self._seed)
        verdict = self._told(part, shares=part["cell"] not in self._contract.copies)
        if not verdict.beyond or verdict.state != "judged":
            return verdict
        strict = self._told(part, shares=False)
        if strict.state == "judged":
            strict.reason = verdict.reason or strict.reason
            strict.results = label_results.both(verdict.results, strict.results)
        strict.claims = sorted({*verdict.claims, *strict.claims})
        strict.calls = verdict.calls
        return strict

    def _told(self, part: dict[str, Any], *, shares: bool) -> _Verdict:
        """Return a check's verdict, from a process of its own.

        A check that an answer has misled, such as by a text that it evaluates, may do anything in
        its process. What that reports counts for this check only, but that it may give up the
        worker, which leaves other checks without answers; the judge's own report and the seeds of
        other checks are not there.
        """
        if self._asks(part):
            self._session.start_process()  # now, so that both ends fork at the same time

        def judge(tells: int) -> None:
            os.close(self._lines.descriptor)
            self._judge_here(part, tells, shares=shares)

        def end() -> None:
            # Before what the check has left behind is gone, so that both ends clear up at the same
            # time: whatever that writes to the worker spoils answers, but makes none.
            self._session.end()
            if self._asks_next:
                self._session.start_process()

        self._session.leave_out(self._template.seconds)
        grace = _GRACE + 4 * self._template.seconds
        told, in_time = _forked(judge, self._session.longest() + grace, end)
        if not in_time:
            if told:
                return _Verdict("not run", "this check did not end in time with this answer")
            return _Verdict("needs attention", "the process of this check did not end in time")
        try:
            number, lost, found = json.loads(told)
            if type(number) is not int or number < 0 or type(lost) is not bool:
                raise TypeError("not the state of a session")
            self._session.number = number
            if lost and not self._session.lost:
                self._session.lose("it did not end a check")
            return _verdict_of(found)
        except (TypeError, ValueError, KeyError, RecursionError):
            without = "the process of this check has ended without a result"
            return _Verdict("needs attention", without)

    def _asks(self, part: dict[str, Any]) -> bool:
        """Whether a check asks the worker for more than the values of its answers."""
        uses = [self._book.use(name) for name in part["answers"]]
        return any(rules.KINDS.intersection(use.kinds) for use in uses)

    def _judge_here(self, part: dict[str, Any], tells: int, *, shares: bool) -> None:
        if not self._template.has_run:  # the process of each check runs it then
            self._template.run()
        verdict = self._attempt(part, self._seed, shares=shares, tells=tells)
        told = (self._session.number, self._session.lost, asdict(verdict))
        data = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")
        while data:
            data = data[os.write(tells, data) :]
        os.close(tells)  # the judge need not wait until this process has given back its memory

    def _attempt(
        self,
        part: dict[str, Any],
        seed: str,
        trial: Callable[[], contextlib.AbstractContextManager[None]] | None = None,
        *,
        shares: bool = False,
        tells: int | None = None,
    ) -> _Verdict:
        """Return the verdict of one check.

        ``trial`` changes the answers of the worker's process for this check; then that process
        goes on with the next trial, unless it does not answer any more. ``tells`` is the pipe to
        the judge if this is the check's own process; then the judge ends that of the worker.
        """
        seconds = self._session.begin()
        if tells is not None and part["answers"]:
            os.write(tells, b" ")  # from here on the answers may be why this does not end
        # Other numbers for each submission, the same whenever it is judged.
        secret = f"{seed}:{part['cell']}"
        answer_calls.seed_random(secret)
        interface = self._plan.interface
        answers = stand_ins.StandIns(self._session, self._book, interface, secret, shares=shares)
        verdict = _Verdict()
        try:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), _PULSE)
            try:
                with contextlib.nullcontext() if trial is None else trial():
                    verdict = self._judged(part, answers)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except answer_session.NoAnswer:
            signal.setitimer(signal.ITIMER_REAL, 0)
        answers.calls.put_back()
        if self._session.broken and verdict.state == "judged":
            verdict = _Verdict("not run", self._session.broken)
        if self._audit.found:
            verdict = _Verdict("needs attention", self._audit.found)
            self._audit.found = ""
        if tells is None and (trial is None or self._session.broken):
            self._session.end()
        verdict.claims, verdict.calls = sorted(answers.claims), answers.log.calls
        verdict.beyond = answers.sharing is not None and answers.sharing.beyond
        return verdict

    def _judged(self, part: dict[str, Any], answers: Any) -> _Verdict:
        names = self._parts.fresh().__dict__
        if reason := self._given(part):
            return _Verdict("needs attention", reason)
        answers.know(names)
        if answers.sharing is not None:
            given = self._plan.given_names(part)
            answers.share({name: names[name] for name in sorted(given) if name in names})
        if reason := self._bind(part, names, answers):
            return _Verdict("not run", reason)
        for each in self._plan.needed(part):
            try:
                with self._recorder.nothing():
                    self._run(each, names)
            except judged_parts.NotOfThePlan:
                return _Verdict("needs attention", self._audit.found)
            except MemoryError:
                return _overfull(part)
            except Exception as error:  # noqa: BLE001 - raised by a given cell on an answer
                why = judged_parts.failure(error)
                return _Verdict("not run", f"the cell at line {each['line']} failed: {why}")
            except BaseException as error:
                if not judged_parts.is_stop(error):
                    raise
                return _Verdict("not run", f"the cell at line {each['line']} was stopped")
        return self._conditions(part, names)

    def _given(self, part: dict[str, Any]) -> str:
        """Return why a check cannot run with the template, which is the author's mistake."""
        lines = {each["cell"]: each["line"] for each in self._plan.data["template"]}
        defines = {each["index"]: each["defines"] for each in self._plan.data["cells"]}
        uses = {name for each in (*self._plan.needed(part), part) for name in each["uses"]}
        for cell, why in self._parts.failed.items():
            if uses & set(defines[cell]):
                return f"the given cell at line {lines[cell]} failed: {why}"
        return ""

    def _bind(self, part: dict[str, Any], names: dict[str, Any], answers: Any) -> str:
        """Bind the answers of a check; return why one is missing."""
        for name in part["answers"]:
            found, names[name] = answers.pull(name)
            if not found:
                return f"`{name}` is not defined: {names[name]}"
            if self._imports[name]:
                exec(self._imports[name], names)  # noqa: S102 - the author's own import
        return ""

    def _run(self, part: dict[str, Any], names: dict[str, Any]) -> None:
        with self._audit.watching(part, self._parts.codes(part)):
            self._parts.run(part, names)

    def _conditions(self, part: dict[str, Any], names: dict[str, Any]) -> _Verdict:
        self._recorder.clear(part["check"]["waits"])
        verdict, problem = _Verdict(), ""
        try:
            self._run(part, names)
        except MemoryError:
            return _overfull(part)
        except answer_session.NoAnswer:
            return _Verdict("not run", self._session.broken)
        except BaseException as error:  # noqa: BLE001 - what a check raises on an answer
            verdict.reason = "" if judged_parts.is_stop(error) else judged_parts.failure(error)
            problem = judged_parts.assertion_text(part, error) or judged_parts.failure(error)
        verdict.results = self._recorder.taken()
        if part["check"]["asserts"]:
            label = part["check"]["labels"][0]
            result = label_results.of_asserts(label["label"], label["key"], problem)
            verdict.results = [result]
        return verdict

    def _tell(self, part: dict[str, Any], verdict: _Verdict) -> None:
        cell, results = part["cell"], verdict.results
        if self._contract is None:
            self._seen += [
                grading_contract.ExpectedLabel(
                    cell, each.label, each.key, float(each.total), len(each.conditions)
                )
                for each in results
            ]
            self._judged_before[cell] = results
        else:
            wanted = [each for each in self._contract.labels if each.cell == cell]
            results = label_results.by_contract(results, wanted, verdict.reason)
        self._lines.tell_check(part, verdict, [each.as_data() for each in results])

    def _interrupt(self, number: int, frame: Any) -> None:
        self._session.break_off("the time of this check is over")
        raise answer_session.NoAnswer(self._session.broken)


if __name__ == "__main__":
    main(sys.argv[1:])
