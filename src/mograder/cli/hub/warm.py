"""``mograder hub warm``: have a hub prepare items before students come (B100-B104)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import click

from mograder.cli.shared.output import reporting
from mograder.cli.shared.remote import Address, hub_address_options
from mograder.cli.shared.result import Result, json_option
from mograder.clients import hub_course
from mograder.clients.hub import HubClient
from mograder.clients.hub_course import Warmth
from mograder.core.item_dates import read_opening
from mograder.core.name_lookup import find_or_new
from mograder.publishing.schedule import DEFAULT_ZONE, parse_zone

_MOMENT = "%a %d %b %Y, %H:%M %Z"


@click.command("warm")
@click.argument("items", nargs=-1)
@click.option("--at", metavar="TIME", help="Not now, but from some minutes before this time.")
@click.option("--forget", is_flag=True, help="Remove the times that were set for ITEMS.")
@click.option("--timezone", default=DEFAULT_ZONE, show_default=True, help="For times without one.")
@hub_address_options
@json_option
def warm(
    items: tuple[str, ...],
    *,
    at: str | None,
    forget: bool,
    timezone: str,
    address: Address,
) -> Result:
    """Have a hub prepare items, so that their notebooks open at once.

    Their packages are installed, and a process is started from which sessions are forked. A hub
    does so by itself before an item opens, [hub] warm_minutes before; --at is for a lecture on an
    item that students see already. Without ITEMS it lists the times that were set. It ends with 1
    if an item could not be prepared.
    """
    if at is not None and forget:
        raise click.UsageError("Give one of --at and --forget.")
    if (at is not None or forget) and not items:
        raise click.UsageError("Name the items.")
    zone = parse_zone(timezone)
    moment = None if at is None else read_opening(at, zone)
    with address.client() as client:
        known = tuple(hub_course.items(client)) if items else ()
        names = [find_or_new(name, known) for name in items]
        answer = _ask(client, names, moment, forget=forget)
    return Result(answer.model_dump(mode="json"), _lines(answer, zone), int(bool(answer.failed)))


def _ask(client: HubClient, names: list[str], moment: datetime | None, *, forget: bool) -> Warmth:
    if not names:
        return hub_course.warm_times(client)
    if forget or moment is not None:
        return hub_course.set_warm_time(client, names, moment)
    with reporting() as report:
        return hub_course.warm(client, names, report)


def _lines(answer: Warmth, zone: ZoneInfo) -> list[str]:
    lines = [f"  {name}: ready" for name in answer.warmed]
    lines += [f"  {name}\n    failed: {error}" for name, error in answer.failed.items()]
    for name, moments in answer.planned.items():
        shown = "; ".join(f"{each.astimezone(zone):{_MOMENT}}" for each in moments)
        lines.append(f"  {name}: {shown}")
    return lines or ["No times are set."]
