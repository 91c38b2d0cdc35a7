"""Run: from pressing Run on a small cell until its output is back, through the proxy and not.

The request is sent by HTTP and the output arrives by WebSocket.
"""

from __future__ import annotations

import time

from bench.options import Options
from bench.report import Row
from bench.stage import Stage
from tests.support.marimo import MarimoClient, open_editor

_TURNS = 20


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Run a small cell again and again, the two ways in turns on sessions of the same kind."""
    user, other, before = stage.newcomer(), stage.newcomer(), stage.known_sockets()
    direct = stage.direct(await stage.start_session(other), before)
    proxied = await stage.start_session(user)
    async with open_editor(proxied) as ours, open_editor(direct) as theirs:
        samples: tuple[list[float], list[float]] = ([], [])
        for turn in range(options.rounds * _TURNS):
            for editor, kept in zip((ours, theirs), samples, strict=True):
                kept.append(await _run_a_cell(editor, turn))
    await stage.stop_session(user)
    await stage.stop_session(other)
    return [
        Row(
            "run a cell: until its output is back",
            "ms",
            "direct",
            tuple(samples[0]),
            tuple(samples[1]),
            None,
        )
    ]


async def _run_a_cell(editor: MarimoClient, turn: int) -> float:
    last = len(editor.cells.ids) - 1
    started = time.perf_counter()
    await editor.edit(last, f"v{last} = {turn}\nv{last}")
    return (time.perf_counter() - started) * 1000
