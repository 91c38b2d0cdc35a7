"""Start: from asking for the editor to its page, and to the first output."""

from __future__ import annotations

from bench.report import Budget, Row
from bench.stage import Stage, time_hub, time_plain

_LATER = "sessions start from a warm process (the sessions issue)"


async def measure(stage: Stage, rounds: int) -> list[Row]:
    """Time new students at the hub and cold plain marimos, in turns."""
    await time_hub(stage)
    await time_plain(stage)
    hub, plain = [], []
    for _ in range(rounds):
        hub.append(await time_hub(stage))
        plain.append(await time_plain(stage))
    return [
        Row(
            "start: request to page",
            "s",
            "plain marimo, cold",
            tuple(each.page for each in hub),
            tuple(each.page for each in plain),
            Budget(0.15, later=_LATER),
        ),
        Row(
            "start: request to first output",
            "s",
            "plain marimo, cold",
            tuple(each.first_output for each in hub),
            tuple(each.first_output for each in plain),
            Budget(0.2, later=_LATER),
        ),
    ]
