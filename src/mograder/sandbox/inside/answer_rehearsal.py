"""Tries the checks of a source, once its contract is recorded; in the judge, for ``generate``.

The worker runs the author's own solution, so it is trusted. The checks are judged once more by the
contract and with other random numbers, and then with junk in place of one answer at a time
(``junk_answers.py``). One process of the worker's serves the trials of one answer in one check, and
one of the judge's makes them, since junk may end it: some libraries do not look at what they get.

Lines of the report: ``{"kind": "rehearsal answers", "answers": [[name, text], …]}``; ``"rehearsal
again"`` for a label that other random numbers earn another weight; ``"rehearsal junk"`` for junk
that leaves all conditions of a label true; ``"rehearsal crash"`` for junk with which the process of
a check ends; ``"rehearsal never"`` for a condition that holds in all trials that reach it; and
``"rehearsal end"``, with the number of trials that were ``done`` of all ``trials``.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import inspect
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import answer_calls  # type: ignore[import-not-found]  # in this file's directory
import answer_session  # type: ignore[import-not-found]
import grading_contract  # type: ignore[import-not-found]
import label_results  # type: ignore[import-not-found]
import stand_ins  # type: ignore[import-not-found]

_OTHER_SEED = ":again"
_FIRST = 8
"""Kinds of junk for each answer that are always tried; the others while there is time."""
_SLOW = 10
"""How many times the time for trials those may take."""
_ENOUGH = 5
"""Trials in which a check has evaluated its conditions before one is said never to fail."""
_RIGHT = ("changes", "keeps", "twice")
"""Kinds of junk that are wrong for some checks only: nothing is told where they pass."""
_Attempt = Callable[[dict[str, Any], str, Any], Any]
"""Judges a part with a seed and a trial, and returns its verdict."""
_Trial = Callable[[dict[str, Any], Any], Any]
_Forked = Callable[[Callable[[int], None], float], bytes]
"""Returns what a function writes in a process of its own, until it ends or the seconds are over."""


@dataclass(frozen=True, slots=True)
class _Junk:
    name: str
    kind: str
    words: str


class Rehearsal:
    """The trials of one source; ``trial`` is the longest of one, in seconds.

    The trials with junk may take as long as judging has taken since ``started``, at most the time
    for all checks, or ``least`` seconds where that is more.
    """

    def __init__(
        self,
        plan: Any,
        contract: Any,
        session: Any,
        say: Any,
        started: float,
        forked: _Forked,
        *,
        least: float,
        trial: float,
    ) -> None:
        self.book = grading_contract.Enforced(contract)
        self._plan = plan
        self._contract = contract
        self._session = session
        self._forked = forked
        self._say = say
        self._trial_seconds = trial
        self._held: dict[tuple[int, str], dict[int, str]] = {}
        self._reached: collections.Counter[tuple[int, str]] = collections.Counter()
        self._seconds = max(least, min(time.monotonic() - started, session.limits.submission))

    def run(self, attempt: _Attempt, seed: str, before: dict[int, list[Any]]) -> None:
        """Try all checks; ``before`` are the results of each cell with this seed."""
        self._session.start_time()
        for part in self._plan.checks:
            verdict = attempt(part, seed + _OTHER_SEED, None)
            self._compare(part, verdict, before.get(part["cell"], []))
        self._session.start_time()
        kinds = self._interface()
        self._session.restrict(self._trial_seconds, self._seconds)
        self._try_junk(lambda part, trial: attempt(part, seed, trial), kinds)

    def _compare(self, part: dict[str, Any], verdict: Any, before: list[Any]) -> None:
        if verdict.state != "judged" and self._session.broken:
            return  # it has taken too long, which random numbers need not explain
        now = {each.label: each for each in self._results(part, verdict)}
        for each in before:
            first, second = each.as_data(), now[each.label].as_data()
            if abs(first["earned"] - second["earned"]) > 1e-9:
                failed = [
                    c for c in (*second["conditions"], *first["conditions"]) if not c["passed"]
                ]
                why = failed[0]["message"] if failed else ""
                self._say("rehearsal again", cell=part["cell"], label=each.label, message=why)

    def _results(self, part: dict[str, Any], verdict: Any) -> list[Any]:
        wanted = [each for each in self._contract.labels if each.cell == part["cell"]]
        found: list[Any] = label_results.by_contract(verdict.results, wanted, verdict.reason)
        return found

    def _interface(self) -> dict[str, list[tuple[str, str]]]:
        """Tell what the answers are; return the kinds of junk that apply to each."""
        answers, kinds = [], {}
        self._session.begin()
        stands = stand_ins.StandIns(self._session, self.book, self._plan.interface, secret="")
        with contextlib.suppress(answer_session.NoAnswer):
            for each in self._plan.data["answers"]:
                name = each["name"]
                found, value = stands.pull(name)
                if not found or each["imported"]:
                    continue
                answers.append([name, self._described(name, value)])
                kinds[name] = list(self._session.ask_plainly("kinds", name) or ())
        self._session.end()
        self._say("rehearsal answers", answers=answers)
        return kinds

    def _described(self, name: str, value: Any) -> str:
        """Return what an answer is: ``array float64 (50,)``, ``f(x) → number``, ``class``."""
        if isinstance(value, type):
            return "class"
        if inspect.isfunction(value):
            given = ", ".join(inspect.signature(value).parameters)
            result = self.book.use(f"{name}()").example
            noun = result.removeprefix("a ").removeprefix("an ")
            return f"({given})" + (f" → {noun}" if noun else "")
        if isinstance(value, stand_ins.Opaque):
            return "object"
        if type(value).__module__ == answer_calls.MODULE:
            return type(value).__name__
        kind, shape = type(value), getattr(value, "shape", None)
        if kind.__module__ == "numpy" and shape:
            return f"array {value.dtype} {shape}"
        if type(shape) is tuple and shape:
            return f"{kind.__name__} {shape}"
        return kind.__name__ if value is not None else "None"

    def _try_junk(self, attempt: _Trial, kinds: dict[str, list[tuple[str, str]]]) -> None:
        groups = [
            (one_by_one(part), [_Junk(name, *kind) for kind in kinds.get(name, ())])
            for part in self._plan.checks
            for name in part["answers"]
        ]
        first = [(part, junk[:_FIRST]) for part, junk in groups]
        rest = [(part, junk[_FIRST:]) for part, junk in groups]
        done, now, missed = 0, time.monotonic(), set()
        ends = (now + _SLOW * self._seconds, now + self._seconds)
        for end, tried in zip(ends, (first, rest), strict=True):
            for part, junk in tried:
                made = self._try_until(end, attempt, part, junk)
                done += made
                missed.update([part["cell"]] if made < len(junk) else [])
        complete = {part["cell"] for part, junk in groups if junk} - missed
        for (cell, label), conditions in self._held.items():
            enough = cell in complete and self._reached[cell, label] >= _ENOUGH
            for message in conditions.values() if enough else ():
                self._say("rehearsal never", cell=cell, label=label, message=message)
        trials = sum(len(junk) for _, junk in groups)
        self._say("rehearsal end", done=done, trials=trials, missed=sorted(missed))

    def _try_until(
        self, end: float, attempt: _Trial, part: dict[str, Any], junk: list[_Junk]
    ) -> int:
        """Try junk on a check until the end of the time; return how many."""
        made = 0

        def trials(tells: int) -> None:
            for each in junk[made:]:
                if time.monotonic() < end:
                    held = self._try(attempt, part, each)
                    os.write(tells, json.dumps(held).encode() + b"\n")
            os.write(tells, b"end")

        while made < len(junk) and (left := end - time.monotonic()) > 0:
            told = self._forked(trials, left + 2 * self._trial_seconds)
            *lines, last = told.split(b"\n")
            for line in lines:
                self._note(part["cell"], json.loads(line))
            made += len(lines)
            if last == b"end":
                break
            ended = junk[made]
            self._say("rehearsal crash", cell=part["cell"], name=ended.name, words=ended.words)
            made += 1
        return made

    def _note(self, cell: int, held: list[tuple[str, list[tuple[int, str]]]]) -> None:
        """Keep, for each label, the conditions that held in all trials so far, by number."""
        for label, conditions in held:
            self._reached[cell, label] += 1
            known = self._held.setdefault((cell, label), dict(conditions))
            both = known.keys() & dict(conditions).keys()
            self._held[cell, label] = {number: known[number] for number in both}

    def _held_by(self, cell: int, results: list[Any]) -> list[tuple[str, list[tuple[int, str]]]]:
        """Return a trial's labels all of whose conditions were evaluated, with those that held."""
        counts = {
            each.label: each.conditions for each in self._contract.labels if each.cell == cell
        }
        return [
            (each.label, [(n, c.message) for n, c in enumerate(each.conditions) if c.passed])
            for each in results
            if len(each.conditions) == counts.get(each.label)
        ]

    def _try(self, attempt: _Trial, part: dict[str, Any], junk: _Junk) -> list[Any]:
        """Try junk, tell what it passes, and return what :meth:`_note` takes."""
        counts = []

        @contextlib.contextmanager
        def trial() -> Iterator[None]:
            self._session.ask("replace", junk.name, junk.kind)
            yield
            counts.append(self._session.ask_plainly("replaced"))

        verdict = attempt(part, trial)
        if verdict.state != "judged" or counts != [True]:
            return []
        if junk.kind not in _RIGHT:
            results = self._results(part, verdict)
            passed = [each.label for each in results if each.as_data()["passed"]]
            if passed:
                told = {"cell": part["cell"], "labels": passed, "name": junk.name}
                self._say("rehearsal junk", **told, junk=junk.kind, words=junk.words)
        return self._held_by(part["cell"], verdict.results)


def one_by_one(part: dict[str, Any]) -> dict[str, Any]:
    """Return a check whose conditions are evaluated one by one, so that an error ends only its own.

    These are the conditions that stand in the list that a call with one of its labels is given.
    """
    labels = {each["label"] for each in part["check"]["labels"]}
    tree = ast.parse(part["code"])
    entries: list[ast.expr] = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(args=[ast.Constant(value=label), given, *_]) if label in labels:
                either = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
                entries += [e for each in either if isinstance(each, ast.List) for e in each.elts]
    for entry in entries:
        if isinstance(entry, ast.Tuple) and len(entry.elts) > 1:
            entry.elts[0] = _later(entry.elts[0])
    return {**part, "code": ast.unparse(tree)}


def _later(condition: ast.expr) -> ast.expr:
    """Return a function without arguments that evaluates a condition."""
    inside = (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)
    if isinstance(condition, ast.Lambda | ast.Name):
        return condition
    if any(isinstance(each, inside) for each in ast.walk(condition)):
        return condition
    empty = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.Lambda(args=empty, body=condition)
