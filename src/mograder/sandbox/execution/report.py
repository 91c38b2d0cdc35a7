"""The result of running a notebook, parsed from its report, which student code may have forged.

Every line is validated and limited in size. One invalid line makes the whole report unreadable,
because the code that wrote it could have written the other lines too. The supervisor that reads it
bounds its length (:mod:`mograder.sandbox.supervisor.notebook_runs`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic import dataclasses as strict

from mograder.sandbox.protocol import COMMANDS_SLOT, Executed, Limits

STRICT = ConfigDict(extra="forbid", strict=True)
_MOST_CELLS = 2000
_EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,[\w+/=]+")
_Index = Annotated[int, Field(ge=0, lt=_MOST_CELLS)]
_Row = Annotated[int, Field(ge=1, le=1_000_000)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Name = Annotated[str, Field(max_length=200)]
_Text = Annotated[str, Field(max_length=5000)]
_Label = Annotated[str, Field(max_length=500)]
_Detail = Annotated[str, Field(max_length=600)]


class Outcome(StrEnum):
    FINISHED = "finished"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"
    """It exceeded a limit other than memory or time."""
    EXITED = "exited"
    """Its process ended before the report did (``os._exit``, or a crash of Python)."""
    UNREADABLE = "unreadable"


class CellStatus(StrEnum):
    OK = "ok"
    ERROR = "error"
    SKIPPED = "skipped"
    """It is disabled, was stopped by ``mo.stop``, or a cell that it depends on did not run."""
    INTERRUPTED = "interrupted"
    """It was running when the notebook's process ended."""


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """A notebook to run: its text, its environment, its limits and the uid slot of the run.

    ``folder`` holds its support files, which are copied; other notebooks in it are copied only with
    ``notebooks``, since they may be other students' submissions. ``name`` is the notebook's file
    name, ``seconds`` the time limit. With ``outputs`` the report contains the cells' outputs.
    ``begun`` is called when the run begins, since it may wait for others first.
    """

    text: str
    name: str
    environment: Path
    limits: Limits
    seconds: float
    folder: Path | None = None
    uid_slot: int = COMMANDS_SLOT
    notebooks: bool = False
    outputs: bool = False
    begun: Callable[[], object] = field(default=lambda: None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class CellOutput:
    """One output of a cell as the editor would show it; untrusted.

    ``data`` is text, markup or JSON, or an image as a data URL. ``cut`` is whether a part of it, or
    all of it, was left out for its size.
    """

    mimetype: str
    data: str
    printed: bool = False
    cut: bool = False


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class CellResult:
    """One cell; ``line`` counts from 1 in its code, ``outputs`` are empty unless requested."""

    index: _Index
    name: _Name
    status: CellStatus
    error_type: _Name = ""
    message: _Text = ""
    line: _Row | None = None
    output_tail: _Text = ""
    seconds: Weight = 0.0
    outputs: tuple[CellOutput, ...] = ()
    kind: Literal["cell"] = "cell"

    @property
    def shown(self) -> str:
        """The text and markup of the outputs, without images."""
        texts = (each.data for each in self.outputs if not each.mimetype.startswith("image/"))
        return _EMBEDDED.sub("", "\n".join(texts)).strip()


@strict.dataclass(frozen=True, slots=True, config=STRICT)
class CheckResult:
    """The result of one check; ``index`` is that of the cell that ran it."""

    label: _Label
    status: Literal["success", "partial", "danger", "warn"]
    details: Annotated[tuple[_Detail, ...], Field(max_length=25)]
    earned_weight: Weight
    total_weight: Weight
    index: _Index
    kind: Literal["check"] = "check"


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """The result of a run; ``problem`` is the error that kept the whole notebook from running."""

    outcome: Outcome
    cells: tuple[CellResult, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    problem: str = ""
    reason: str = ""
    """The limit for which it was ended, as in :class:`~mograder.sandbox.protocol.Ended`."""
    log_tail: str = ""
    seconds: float = 0.0

    @property
    def interrupted(self) -> int | None:
        """The index of the cell that was running when the run was ended."""
        cells = (each.index for each in self.cells if each.status is CellStatus.INTERRUPTED)
        return next(cells, None)


Executes = Callable[[ExecutionRequest], Awaitable[ExecutionResult]]
"""Runs a notebook (:meth:`mograder.sandbox.execution.judging.Runner.execute`)."""


class Line(BaseModel):
    """A line of a report, without any field more."""

    model_config = STRICT


class _Start(Line):
    kind: Literal["start"]
    index: _Index


class _Output(Line):
    kind: Literal["output"]
    index: _Index
    part: Annotated[int, Field(ge=0, lt=100)]
    mimetype: _Name
    printed: bool
    cut: bool
    text: Annotated[str, Field(max_length=20_000)]


class _Failure(Line):
    kind: Literal["failure"]
    error_type: _Name
    message: _Text
    line: _Row | None


class End(Line):
    kind: Literal["end"]


_Told = _Start | CellResult | CheckResult | _Output | _Failure | End
_LINE: TypeAdapter[_Told] = TypeAdapter(Annotated[_Told, Field(discriminator="kind")])


@dataclass(slots=True)
class _Reading:
    cells: dict[int, CellResult] = field(default_factory=dict)
    checks: list[CheckResult] = field(default_factory=list)
    shown: dict[int, list[_Output]] = field(default_factory=dict)
    running: int | None = None
    problem: str = ""
    ended: bool = False

    def take(self, line: str) -> None:
        """Process one line. Raises: :class:`ValueError` if it is not valid in this place."""
        if self.ended:
            raise ValueError("something follows the end")
        told = _LINE.validate_json(line)
        match told:
            case _Start():
                self._start(told.index)
            case CellResult():
                self._finish(told)
            case CheckResult():
                if told.index != self.running:
                    raise ValueError("a check of a cell that does not run")
                self.checks.append(told)
            case _Output():
                if told.index != self.running:
                    raise ValueError("an output of a cell that does not run")
                self.shown.setdefault(told.part, []).append(told)
            case _Failure():
                place = f" (line {told.line})" if told.line else ""
                self.problem = f"{told.error_type}: {told.message}{place}"
            case End():
                self.ended = True

    def _start(self, index: int) -> None:
        if self.running is not None or index in self.cells:
            raise ValueError("a cell that starts twice, or within another")
        self.running = index

    def _finish(self, told: CellResult) -> None:
        ran = self.running == told.index
        if told.index in self.cells or (told.status is CellStatus.OK and not ran):
            raise ValueError("a cell that ends twice, or never started")
        if told.status is CellStatus.INTERRUPTED or told.outputs:
            raise ValueError("what a cell cannot say of itself")
        outputs = tuple(
            CellOutput(
                lines[0].mimetype,
                "".join(line.text for line in lines),
                lines[0].printed,
                any(line.cut for line in lines),
            )
            for lines in self.shown.values()
        )
        self.cells[told.index] = replace(told, outputs=outputs)
        if ran:
            self.running = None
            self.shown.clear()


def read_report(lines: Iterable[str], executed: Executed) -> ExecutionResult:
    """Return the result of a run from its report and the supervisor's account of its end."""
    reading = _Reading()
    readable = not executed.overflow
    try:
        for line in lines:
            reading.take(line)
    except ValueError:  # also pydantic's
        readable = False
    if not readable:
        reading = _Reading()
    if reading.running is not None:
        index = reading.running
        reading.cells[index] = CellResult(index, "", CellStatus.INTERRUPTED)
    return ExecutionResult(
        _outcome(executed, readable=readable, ended=reading.ended),
        tuple(reading.cells[index] for index in sorted(reading.cells)),
        tuple(reading.checks),
        problem=reading.problem,
        reason=executed.reason,
        log_tail=executed.log_tail,
        seconds=executed.seconds,
    )


def _outcome(executed: Executed, *, readable: bool, ended: bool) -> Outcome:
    """Return the outcome; the supervisor's account takes precedence over the report."""
    if executed.reason:
        return Outcome.OUT_OF_MEMORY if executed.reason == "memory" else Outcome.KILLED
    if executed.timed_out:
        return Outcome.TIMED_OUT
    if not readable:
        return Outcome.UNREADABLE
    return Outcome.FINISHED if ended else Outcome.EXITED
