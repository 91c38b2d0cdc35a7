"""``python -m bench``: measure the rows and print one table.

With ``--record`` the rows are also appended to ``bench/history.jsonl``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from pathlib import Path

from bench import (
    assets,
    autograde,
    burst,
    command_line,
    cost,
    hall,
    hundred,
    idle,
    intake,
    marking,
    memory,
    nodes,
    pages,
    proxy,
    rehearsal,
    restart,
    soak,
    start,
    validate,
    websocket,
)
from bench.options import Options
from bench.report import Row, Verdict, append_history, broken, render, say
from bench.stage import Stage, set_up, warm_up

Measure = Callable[[Stage, Options], Awaitable[list[Row]]]

ROWS: dict[str, Measure] = {
    "start": start.measure,
    "cost": cost.measure,
    "burst": burst.measure,
    "hundred": hundred.measure,
    "memory": memory.measure,
    "proxy": proxy.measure,
    "websocket": websocket.measure,
    "assets": assets.measure,
    "idle": idle.measure,
    "rehearsal": rehearsal.measure,
    "restart": restart.measure,
    "pages": pages.measure,
    "marking": marking.measure,
    "validate": validate.measure,
    "autograde": autograde.measure,
    "intake": intake.measure,
    "help": command_line.measure,
}
LONG: dict[str, Measure] = {
    "hall": hall.measure,
    "soak": soak.measure,
    "nodes": nodes.measure,
}
"""Rows that run only when named on the command line."""

HISTORY = Path(__file__).parent / "history.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Measure the chosen rows; return 1 when a budget does not hold."""
    names, options = read_command_line(arguments)
    load = os.getloadavg()[0]
    rows = asyncio.run(_measure(names, options))
    print(render(rows))
    print(f"\nthe machine's load was {load:.1f} before; more than 0.5 is somebody else's")
    if options.record:
        append_history(rows, load, HISTORY)
        print(f"appended to {HISTORY}")
    return int(any(row.verdict is Verdict.FAILS for row in rows))


def read_command_line(arguments: Sequence[str]) -> tuple[list[str], Options]:
    """Return the rows to measure and their options; exit with an error for an unknown row."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    known = ROWS | LONG
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"which of {', '.join(known)} (all but {', '.join(LONG)})",
    )
    for field in fields(Options):
        kind, help_text = type(field.default), field.metadata["help"]
        if kind is bool:
            parser.add_argument(f"--{field.name}", action="store_true", help=help_text)
            continue
        help_text += f" ({field.default})"
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, help=help_text)
    given = parser.parse_args(arguments)
    unknown = set(given.rows) - set(known)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = {field.name: getattr(given, field.name) for field in fields(Options)}
    return given.rows or list(ROWS), Options(**chosen)


async def _measure(names: Sequence[str], options: Options) -> list[Row]:
    rows: list[Row] = []
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # clean up then, too
    say("starting the hub and publishing the benchmark's notebook …")
    with set_up() as stage:
        warm = await warm_up(stage)
        say("sessions start warm" if warm else "sessions start COLD: no zygote came up")
        for name in names:
            say(f"measuring {name} …")
            rows += await _measure_one(name, stage, options)
    return rows


async def _measure_one(name: str, stage: Stage, options: Options) -> list[Row]:
    """Measure one row; a row that raises is reported as broken, and the others still run."""
    try:
        return await (ROWS | LONG)[name](stage, options)
    except Exception as error:  # noqa: BLE001 - a loop: the other rows took minutes to measure
        traceback.print_exc()
        return [broken(name, error)]
    finally:
        await stage.clear()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
