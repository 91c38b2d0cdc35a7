"""A hundred students at the same moment: none fails, and others are answered meanwhile."""

from __future__ import annotations

from bench.burst import at_the_hub
from bench.figures import percentile
from bench.latency_watcher import watching
from bench.options import Options
from bench.report import Budget, Row
from bench.stage import Stage

STUDENTS = 100
_LIMIT_MS = 200.0


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Open the sessions while two watchers request the hub's health and a student's first page."""
    port, visitor = stage.hub.port, stage.newcomer()
    async with (
        watching(port, "/health", visitor) as health,
        watching(port, "/", visitor) as home,
    ):
        crowd = await at_the_hub(stage, STUDENTS)
    pages, outputs = crowd.pages, crowd.outputs
    return [
        Row(
            f"{STUDENTS} at once: who failed",
            "students",
            (len(crowd.failures),),
            Budget(0, unit="students"),
            crowd.why().removeprefix("; "),
        ),
        Row(
            f"{STUDENTS} at once: the longest wait for the page",
            "s",
            (crowd.last_page,),
            None,
            f"median {percentile(pages, 50):.2f} s; to the first output median "
            f"{percentile(outputs, 50):.2f} s, longest {max(outputs):.2f} s",
        ),
        _answers("/health", health),
        _answers("a student's home", home),
    ]


def _answers(what: str, milliseconds: list[float]) -> Row:
    """One row: the 99th percentile against the limit, since one slow answer is the machine's."""
    return Row(
        f"{STUDENTS} at once: {what} meanwhile, p99",
        "ms",
        (percentile(milliseconds, 99),),
        Budget(_LIMIT_MS, unit="ms"),
        f"{len(milliseconds)} answers, median {percentile(milliseconds, 50):.1f} ms, slowest "
        f"{max(milliseconds):.0f} ms",
    )
