"""The judge's report, read strictly: one line that is not as expected makes all of it worthless.

The judge runs the author's code on data from an answer. Should that ever have misled the judge, its
report must still fit the plan and the contract, neither of which comes from the judge.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mograder.notebook.grading.grading_plan import GradingPlan, Part
from mograder.sandbox.execution.judging import (
    JudgedCall,
    JudgedCheck,
    JudgedCondition,
    JudgedLabel,
)
from mograder.sandbox.inside.grading_contract import Contract, parse_contract, render_contract

_MOST_LABELS = 1000
_Text = Annotated[str, Field(max_length=20_000)]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Given(_Words):
    kind: Literal["given"]
    cell: int
    line: int
    error: _Text


class _Condition(_Words):
    message: _Text
    weight: _Weight
    passed: bool
    reason: _Text


class _Label(_Words):
    label: _Text
    key: _Text
    earned: _Weight
    total: _Weight
    passed: bool
    conditions: list[_Condition] = Field(max_length=1000)


class _Call(_Words):
    call: _Text
    status: _Text
    milliseconds: _Weight
    result: _Text = ""


class _Judged(_Words):
    kind: Literal["judged"]
    cell: int
    line: int
    hidden: bool
    state: Literal["judged", "not run", "needs attention"]
    reason: _Text
    labels: list[_Label] = Field(max_length=_MOST_LABELS)
    claims: list[_Text] = Field(max_length=100)
    calls: list[_Call] = Field(max_length=200)


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    kind: Literal["contract"]


class _End(_Words):
    kind: Literal["end"]


_LINE: TypeAdapter[_Given | _Judged | _Recorded | _End] = TypeAdapter(
    Annotated[_Given | _Judged | _Recorded | _End, Field(discriminator="kind")]
)


@dataclass(slots=True)
class JudgeReport:
    """What a judge has reported; ``given`` has the error of each given cell, by its index."""

    checks: tuple[JudgedCheck, ...] = ()
    given: dict[int, str] = field(default_factory=dict)
    contract: str = ""


def read_judge_report(
    lines: Iterable[str], plan: GradingPlan, contract: Contract | None
) -> JudgeReport:
    """Return the report of a judge that has come to its end.

    Without a ``contract``, one must have been recorded.

    Raises: :class:`ValueError` with what is wrong.
    """
    reading = _Reading(plan, contract)
    for line in lines:
        reading.take(line)
    return reading.result()


class _Reading:
    def __init__(self, plan: GradingPlan, contract: Contract | None) -> None:
        self._plan = plan
        self._parts: Mapping[int, Part] = {part.cell: part for part in plan.checks}
        self._contract = contract
        self._checks: dict[int, JudgedCheck] = {}
        self._report = JudgeReport()
        self._ended = False

    def take(self, line: str) -> None:
        if self._ended:
            raise ValueError("something follows the end")
        try:
            told = _LINE.validate_json(line)
        except ValidationError as error:
            where = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{where['msg']} at {where['loc']}") from None
        match told:
            case _Given():
                if told.cell not in {part.cell for part in self._plan.template}:
                    raise ValueError(f"a given cell {told.cell} that the plan does not have")
                self._report.given[told.cell] = told.error
            case _Judged():
                self._check(told)
            case _Recorded():
                self._record(told.model_extra or {})
            case _End():
                self._ended = True

    def _check(self, told: _Judged) -> None:
        part = self._parts.get(told.cell)
        facts = None if part is None else part.check
        if part is None or facts is None or told.cell in self._checks:
            raise ValueError(f"a check {told.cell} that the plan does not have, or a second time")
        if (told.line, told.hidden) != (part.line, facts.hidden):
            raise ValueError(f"another check than the plan's {told.cell}")
        for label in told.labels:
            if label.earned > label.total and not math.isclose(label.earned, label.total):
                raise ValueError(f"more than the total of {label.label!r}")
            if told.state != "judged" and label.earned:
                raise ValueError(f"weight of {label.label!r}, which was not judged")
        if self._contract is not None:
            _compare(told, self._contract)
        self._checks[told.cell] = _judged_check(told)

    def _record(self, found: dict[str, Any]) -> None:
        if self._contract is not None or self._report.contract:
            raise ValueError("a contract that was not asked for")
        contract = parse_contract(TypeAdapter(dict[str, Any]).dump_json(found))
        if contract.source_sha256 != self._plan.source_sha256:
            raise ValueError("a contract of another source")
        self._report.contract = render_contract(contract)

    def result(self) -> JudgeReport:
        if not self._ended:
            raise ValueError("the end is missing")
        if missing := self._parts.keys() - self._checks.keys():
            raise ValueError(f"checks {sorted(missing)} are missing")
        if self._contract is None and not self._report.contract:
            raise ValueError("the contract is missing")
        self._report.checks = tuple(self._checks[cell] for cell in self._parts)
        return self._report


def _compare(told: _Judged, contract: Contract) -> None:
    """Raise ``ValueError`` unless a check has the labels and weights of the contract."""
    wanted = {each.label: each for each in contract.labels if each.cell == told.cell}
    if Counter(each.label for each in told.labels) != Counter(wanted.keys()):
        raise ValueError(f"other labels of check {told.cell} than in the contract")
    for label in told.labels:
        expected = wanted[label.label]
        close = math.isclose(label.total, expected.total, rel_tol=1e-6, abs_tol=1e-9)
        if label.key != expected.key or not close:
            raise ValueError(f"another key or weight of {label.label!r} than in the contract")


def _judged_check(told: _Judged) -> JudgedCheck:
    labels = tuple(
        JudgedLabel(
            each.label,
            each.key,
            each.earned,
            each.total,
            each.passed,
            tuple(
                JudgedCondition(c.message, c.weight, c.passed, c.reason) for c in each.conditions
            ),
        )
        for each in told.labels
    )
    calls = tuple(JudgedCall(c.call, c.status, c.result, c.milliseconds) for c in told.calls)
    claims = tuple(told.claims)
    return JudgedCheck(
        told.cell, told.line, told.hidden, told.state, told.reason, labels, claims, calls
    )
