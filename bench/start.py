"""Start: from asking for the editor to its page, and to the first output."""

from __future__ import annotations

from bench.figures import percentile
from bench.options import Options
from bench.plain_marimo import plain_marimo
from bench.report import Budget, Row, say
from bench.stage import Stage
from bench.tab import Times

_STARTS_PER_TURN = 24


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Time new students at the hub, many, and cold plain marimos, in turns."""
    await _hub(stage)
    await _plain(stage)
    before, hub, plain = await stage.starts(), [], []
    for turn in range(options.rounds):
        say(f"  turn {turn + 1} of {options.rounds}: {_STARTS_PER_TURN} starts and a plain one")
        plain.append(await _plain(stage))
        hub += [await _hub(stage) for _ in range(_STARTS_PER_TURN)]
    counted = await stage.starts() - before
    note = f"{counted['warm']} of {len(hub)} starts were warm"
    pages, outputs = [each.page for each in hub], [each.first_output for each in hub]
    cold = "plain marimo, cold"
    return [
        Row(
            "start: request to page",
            "s",
            tuple(pages),
            Budget(0.15),
            note,
            reference=cold,
            theirs=tuple(each.page for each in plain),
        ),
        Row(
            f"start: request to page, p99 of {len(pages)}",
            "s",
            (percentile(pages, 99),),
            Budget(2),
            f"p95 {percentile(pages, 95):.3f} s, slowest {max(pages):.3f} s",
            reference="own median",
            theirs=(percentile(pages, 50),),
        ),
        Row(
            "start: request to first output",
            "s",
            tuple(outputs),
            Budget(0.2),
            f"p99 {percentile(outputs, 99):.3f} s",
            reference=cold,
            theirs=tuple(each.first_output for each in plain),
        ),
    ]


async def _hub(stage: Stage) -> Times:
    user = stage.newcomer()
    tab = await stage.open_tab(user)
    tab.close()
    await stage.stop_session(user)
    return tab.times


async def _plain(stage: Stage) -> Times:
    async with plain_marimo(stage) as plain:
        await plain.tab.open()
        plain.tab.close()
        return plain.tab.times
