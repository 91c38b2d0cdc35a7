"""Validate: a student's small notebook on the hub, beside marimo's own export of the same."""

from __future__ import annotations

import asyncio
import json
import time

from bench.load import Target
from bench.options import Options
from bench.plain_marimo import export
from bench.report import Budget, Row
from bench.stage import ITEM, Stage, notebook_text
from bench.wire import Line
from tests.support.identity import student

_PER_TURN = 10


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Time the hub's answer, many times, and cold exports, in turns."""
    user = stage.newcomer()
    line = Line(Target(path="", port=stage.hub.port))
    (await line.ask(f"/download/{ITEM}", body=b"{}", headers=student(user))).expect()
    place = stage.directory / "export"
    place.mkdir()
    notebook = place / f"{ITEM}.py"
    notebook.write_text(notebook_text())
    await _validate(line, user)
    ours, theirs = [], []
    for _ in range(options.rounds):
        theirs.append(await asyncio.to_thread(export, stage.python, notebook))
        ours += [await _validate(line, user) for _ in range(_PER_TURN)]
    line.close()
    return [
        Row(
            "validate: request to report",
            "s",
            tuple(ours),
            Budget(0.1),
            f"slowest {max(ours):.3f} s",
            reference="marimo export html",
            theirs=tuple(theirs),
        )
    ]


async def _validate(line: Line, user: str) -> float:
    asked = time.perf_counter()
    answer = await line.ask(f"/validate/{user}/{ITEM}", body=b"{}", headers=student(user))
    seconds = time.perf_counter() - asked
    assert json.loads(answer.expect())["export_ok"], answer.body
    return seconds
