"""``mograder hub rehearse``: see beforehand how a lecture will go on a hub."""

from __future__ import annotations

from collections.abc import Mapping

import click

from mograder.cli.shared.output import counting
from mograder.cli.shared.remote import Address, hub_address_options
from mograder.cli.shared.result import Result, json_option, tell
from mograder.clients import hub_course
from mograder.clients.hub import HubClient
from mograder.clients.hub_course import Durations, Plan, Rehearsed
from mograder.core.name_lookup import find_or_new

_MOST_STUDENTS = 1000
_MOST_SECONDS = 3600


@click.command("rehearse")
@click.argument("item")
@click.option(
    "--students",
    type=click.IntRange(1, _MOST_STUDENTS),
    default=30,
    show_default=True,
    help="How many open the item.",
)
@click.option(
    "--within",
    type=click.FloatRange(0, _MOST_SECONDS),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="They come one after the other, all within this time.",
)
@click.option("--cancel", is_flag=True, help="End the rehearsal that runs, and do nothing else.")
@hub_address_options
@json_option
def rehearse(
    item: str,
    *,
    students: int,
    within: float,
    cancel: bool,
    address: Address,
) -> Result:
    """See beforehand how a lecture will go on a hub.

    Throw-away users open ITEM. Their sessions are real: each starts in its sandbox and runs all
    cells of the release. The hub may be in use: students come first, and what the rehearsal made is
    removed at its end. It ends with 1 unless all of them have run all cells.
    """
    with address.client() as client:
        if cancel:
            done = hub_course.cancel(client, item)
            told = "The rehearsal was cancelled." if done else "No rehearsal runs."
            return Result({"cancelled": done}, [told])
        item = find_or_new(item, tuple(hub_course.items(client)))
        expected = hub_course.plan(client, item, students, within)
        tell(_estimate(item, students, within, expected))
        result = _run(client, item, students, within)
    failed = result.finished < result.students
    return Result(result.model_dump(mode="json"), _lines(result), int(failed))


def _run(client: HubClient, item: str, students: int, within: float) -> Rehearsed:
    with counting(students, f"Rehearsing {item}") as advance:
        over = 0

        def note(line: Mapping[str, object]) -> None:
            nonlocal over
            now = line.get("over")
            while isinstance(now, int) and over < min(now, students):
                over += 1
                advance()

        try:
            return hub_course.rehearse(client, item, students, within, note)
        except KeyboardInterrupt:
            hub_course.cancel(client, item)
            click.echo("Cancelled; everything that the rehearsal made is removed.", err=True)
            raise


def _estimate(item: str, students: int, within: float, expected: Plan) -> str:
    return (
        f"{item}: {students} students within {within:g} s. This takes about "
        f"{_span(expected.seconds)}. {_size(expected.memory_used)} of "
        f"{_size(expected.memory_total)} are in use; with about {_size(expected.memory_each)} "
        f"each, {expected.fits} of {students} fit."
    )


def _lines(result: Rehearsed) -> list[str]:
    ran = f"{result.finished} of {result.students} ran all cells, {result.warm} started warm"
    lines = [f"{ran}; it took {_span(result.seconds)}."]
    named = {
        "until the session answers": result.started,
        "until the first output": result.first_output,
        "until the last cell": result.all_cells,
    }
    lines += [f"  {name:<27} {_times(times)}" for name, times in named.items() if times]
    if result.memory_each:
        lines.append(
            f"  memory                      {_size(result.memory_each)} each (largest "
            f"{_size(result.memory_largest)}), {_size(result.memory_together)} together"
        )
        lines.append(
            f"  the machine can hold        {result.holds} such sessions in "
            f"{_size(result.memory_total)}; {result.holds_now} beside what runs now"
        )
    if result.wait:
        lines.append(f"  {result.wait} would wait in line, until others leave.")
    if result.gave_way:
        lines.append(f"  {result.gave_way} gave way to students: rehearse when fewer are working.")
    if result.errors:
        lines.append(f"  {result.errors} cells end with an error in a fresh copy.")
    lines += [f"  {count} failed: {reason}" for reason, count in result.failures.items()]
    return lines


def _times(times: Durations) -> str:
    most = f"95 % within {times.p95:.1f} s, worst {times.worst:.1f} s"
    return f"median {times.median:.1f} s, {most}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _size(count: int) -> str:
    megabytes = count / 2**20
    return f"{megabytes:.0f} MB" if megabytes < 1024 else f"{megabytes / 1024:.1f} GB"
