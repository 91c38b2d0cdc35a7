"""The conditions of a check by label, and the lines in which the judge reports them.

They are recorded from mograder's runtime and fitted to a contract. Lines are limited in size, since
an answer may determine long messages.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_RUNTIME = "mograder.runtime"
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; ``reason`` is the error that prevented its evaluation."""

    message: str
    weight: float
    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LabelResult:
    label: str
    key: str
    conditions: tuple[Condition, ...]

    @property
    def total(self) -> float:
        return sum(each.weight for each in self.conditions)

    def as_data(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "key": self.key,
            "earned": sum(each.weight for each in self.conditions if each.passed),
            "total": self.total,
            "passed": bool(self.conditions) and all(each.passed for each in self.conditions),
            "conditions": [dataclasses.asdict(each) for each in self.conditions],
        }


def of_data(found: dict[str, Any]) -> LabelResult:
    """Return the result of a report; ``TypeError``, ``ValueError``, ``KeyError`` for another."""
    conditions = tuple(Condition(**each) for each in found["conditions"])
    texts = [found["label"], found["key"], *(each.message for each in conditions)]
    texts += [each.reason for each in conditions]
    if not all(type(each) is str for each in texts):
        raise TypeError("not the result of a label")
    for each in conditions:
        if type(each.passed) is not bool or not 0 <= each.weight < math.inf:
            raise ValueError("not a condition")
    return LabelResult(found["label"], found["key"], conditions)


class Recorder:
    """Takes the results of ``check`` in place of the sidecar.

    Mutable state: ``_waits``, how many results without conditions are expected of each label and
    of one that the plan does not know (``""``), ``_waited``, how many came, and ``_waiting``, the
    last of each label.
    """

    def __init__(self) -> None:
        self._results: dict[str, LabelResult] = {}
        self._waits: Mapping[str, int] = {}
        self._waited: Counter[str] = Counter()
        self._waiting: dict[str, LabelResult] = {}
        self._ignores = False

    def install(self) -> None:
        """Receive the runtime's results; nothing without a runtime, as ``assert`` needs none."""
        with contextlib.suppress(ImportError):
            runtime: Any = importlib.import_module(_RUNTIME)
            runtime.write_sidecar = self._record
            shown = runtime.mo.Html("")  # a judge has no page, and a box takes time to make
            runtime._box = lambda *result: shown

    @contextlib.contextmanager
    def nothing(self) -> Iterator[None]:
        """Ignore the results of other checks that run because their names are needed."""
        self._ignores = True
        try:
            yield
        finally:
            self._ignores = False

    def clear(self, waits: Mapping[str, int]) -> None:
        self._results.clear()
        self._waiting.clear()
        self._waited.clear()
        self._waits = waits

    def taken(self) -> list[LabelResult]:
        """Return the result of each label, the worst one of those that were recorded."""
        return list({**self._waiting, **self._results}.values())

    def _record(self, result: Any) -> None:
        if self._ignores:
            return
        conditions = (Condition(o.message, o.weight, o.passed, o.reason) for o in result.outcomes)
        found = LabelResult(result.label, result.key, tuple(conditions))
        waits = self._waits.get(found.label, self._waits.get("", 0))
        if not found.conditions and self._waited[found.label] < waits:
            self._waited[found.label] += 1
            self._waiting[found.label] = found
            return
        before = self._results.get(result.label, found)
        self._results[result.label] = min(before, found, key=_share)


def both(first: Sequence[LabelResult], second: Sequence[LabelResult]) -> list[LabelResult]:
    """Return what holds in two runs of one check: each condition of the labels that both have."""
    others = {each.label: each for each in second}
    return [_both(each, others[each.label]) for each in first if each.label in others]


def _both(first: LabelResult, second: LabelResult) -> LabelResult:
    if len(first.conditions) != len(second.conditions):
        return min(first, second, key=_share)
    pairs = zip(first.conditions, second.conditions, strict=True)
    worse = tuple(one if not one.passed else other for one, other in pairs)
    return dataclasses.replace(first, conditions=worse)


def _share(result: LabelResult) -> float:
    """Return the part of a label's weight that was earned; 0 for no conditions."""
    earned = sum(each.weight for each in result.conditions if each.passed)
    return earned / result.total if result.total else 0.0


def of_asserts(label: str, key: str, problem: str) -> LabelResult:
    """Return the result of a cell of asserts, whose weight is 1; ``problem`` is why it failed."""
    return LabelResult(label, key, (Condition(problem or "all asserts hold", 1.0, not problem),))


def by_contract(
    results: Sequence[LabelResult], wanted: Sequence[Any], reason: str
) -> list[LabelResult]:
    """Return the results of exactly the labels that the author's own run had, with its weights.

    A label that is missing has failed; one that the author's run did not have does not count, since
    the answer may have chosen it. The weight of a label is the author's: missing weight counts as
    failed, and with more of it what failed keeps its weight, and what holds has the rest.
    """
    found = {each.label: each for each in results}
    return [_fitted(found.get(each.label), each, reason) for each in wanted]


def _fitted(result: LabelResult | None, wanted: Any, reason: str) -> LabelResult:
    if result is None:
        missing = Condition("this check did not run to its end", wanted.total, False, reason)
        return LabelResult(wanted.label, wanted.key, (missing,))
    lacking = wanted.total - result.total
    if math.isclose(result.total, wanted.total, abs_tol=_ROUNDING):
        lacking = 0.0  # the order in which weights are added
    if lacking > 0 or len(result.conditions) == 0:
        none = "nothing is answered here, so the check has no conditions"
        fewer = "with this answer the check has fewer conditions than with the author's"
        text = fewer if result.conditions else none
        more = Condition(text, max(lacking, 0.0), False)
        return dataclasses.replace(result, conditions=(*result.conditions, more))
    if lacking < 0:
        # Else an answer could add conditions that hold until those that failed weigh nothing.
        failed = sum(c.weight for c in result.conditions if not c.passed)
        lost, held = min(failed, wanted.total), result.total - failed
        factors = {
            False: lost / failed if failed > 0 else 0.0,
            True: (wanted.total - lost) / held if held > 0 else 0.0,
        }
        return dataclasses.replace(
            result,
            conditions=tuple(
                dataclasses.replace(c, weight=c.weight * factors[c.passed])
                for c in result.conditions
            ),
        )
    return result


_MOST_TEXT = 40_000
"""Characters of the texts about one check; the supervisor refuses a line that is too long."""
_MOST_CONDITIONS = 1000
_MOST_CLAIMS = 100
_MESSAGE, _REASON, _CLAIM = 1000, 3000, 300


class JudgeLines:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def say(self, kind: str, **more: Any) -> None:
        text = json.dumps({"kind": kind, **_finite(more)}, ensure_ascii=False)
        data = text.encode("utf-8", "replace") + b"\n"
        while data:
            data = data[os.write(self.descriptor, data) :]

    def tell_check(self, part: dict[str, Any], verdict: Any, labels: list[dict[str, Any]]) -> None:
        """Report a check of the plan: its state, its labels, and how the answers were used."""
        texts = _Texts()
        self.say(
            "judged",
            cell=part["cell"],
            line=part["line"],
            hidden=part["check"]["hidden"],
            state=verdict.state,
            reason=texts.cut(verdict.reason, _REASON),
            labels=[{**each, "conditions": texts.conditions(each)} for each in labels],
            claims=[each[:_CLAIM] for each in sorted(verdict.claims)[:_MOST_CLAIMS]],
            calls=[texts.call(each) for each in verdict.calls],
        )


class _Texts:
    """Shortens the texts of one line; those that come last are left out first."""

    def __init__(self) -> None:
        self._left = _MOST_TEXT
        self._conditions = _MOST_CONDITIONS

    def cut(self, text: str, most: int) -> str:
        text = text[: min(most, self._left)]
        self._left -= len(text)
        return text

    def conditions(self, label: dict[str, Any]) -> list[dict[str, Any]]:
        kept = label["conditions"][: self._conditions]
        self._conditions -= len(kept)
        return [
            {
                **each,
                "message": self.cut(each["message"], _MESSAGE),
                "reason": self.cut(each["reason"], _MESSAGE),
            }
            for each in kept
        ]

    def call(self, call: dict[str, Any]) -> dict[str, Any]:
        texts = [name for name in ("call", "result") if name in call]
        return call | {name: self.cut(call[name], _MESSAGE) for name in texts}


def _finite(value: Any) -> Any:
    """Return a report without NaN, which is no JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return 0.0
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
