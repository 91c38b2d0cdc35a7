"""``python -m bench``: run the rows, print one table, write one JSON file."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bench import burst, cell, command_line, memory, proxy, start, websocket
from bench.report import Row, Verdict, render, write_json
from bench.stage import Stage, set_up

Measure = Callable[[Stage, int], Awaitable[list[Row]]]

ROWS: dict[str, Measure] = {
    "start": start.measure,
    "burst": burst.measure,
    "memory": memory.measure,
    "proxy": proxy.measure,
    "websocket": websocket.measure,
    "cell": cell.measure,
    "help": command_line.measure,
}
RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for; returns 1 when a budget that should hold does not."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which of {', '.join(ROWS)} (all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns per comparison (5)")
    options = parser.parse_args(arguments)
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    rows = asyncio.run(_measure(options.rows or list(ROWS), options.rounds))
    print(render(rows))
    print(f"\nwritten to {write_json(rows, RESULTS)}")
    return int(any(row.verdict is Verdict.FAILS for row in rows))


async def _measure(names: Sequence[str], rounds: int) -> list[Row]:
    rows: list[Row] = []
    print("starting the hub and publishing the benchmark's notebook …", file=sys.stderr)
    with set_up() as stage:
        for name in names:
            print(f"measuring {name} …", file=sys.stderr)
            rows += await ROWS[name](stage, rounds)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
