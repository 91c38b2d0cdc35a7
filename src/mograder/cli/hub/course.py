"""``mograder hub sync-users``, ``visibility`` and ``schedule``.

B35, B36; compatibility-0.3.16.md 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from mograder.cli.shared.console import print_json
from mograder.cli.shared.options import json_option
from mograder.cli.shared.remote import Address, hub_address_options
from mograder.clients import hub_course
from mograder.clients.hub import HubClient
from mograder.clients.hub_course import Rule
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput
from mograder.core.name_lookup import find_or_new
from mograder.publishing.schedule import DEFAULT_ZONE, parse_moment, parse_schedule, parse_zone
from mograder.store.course.allowlist import parse_users

_MOMENT = "%a %d %b %Y, %H:%M"
_Path = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("sync-users")
@click.argument("file", type=_Path)
@click.option("--dry-run", is_flag=True, help="Show the names only.")
@hub_address_options
def sync_users(
    *,
    file: Path,
    dry_run: bool,
    address: Address,
) -> None:
    """Replace the list of those who may use a hub.

    FILE has one username per line; lines that begin with # do not count. Who is not on the list
    loses access at once; instructors always have it.
    """
    users = sorted(parse_users(_text(file)))
    click.echo(f"Read {len(users)} users from {file}")
    if dry_run:
        for user in users:
            click.echo(f"  {user}")
        return
    with address.client() as client:
        click.echo(f"Synced {hub_course.sync_users(client, users)} users to hub.")


@click.command("visibility")
@click.argument("names", nargs=-1)
@click.option("--from", "opens", metavar="DATE", help="Students see them from then on.")
@click.option("--hide", is_flag=True, help="Students do not see them.")
@click.option("--show", is_flag=True, help="Students see them.")
@click.option("--timezone", default=DEFAULT_ZONE, show_default=True, help="For dates without one.")
@hub_address_options
@json_option
def visibility(
    *,
    names: tuple[str, ...],
    opens: str | None,
    hide: bool,
    show: bool,
    timezone: str,
    address: Address,
    as_json: bool,
) -> None:
    """Show or change what students see of a hub's items.

    Without an option it lists the items. NAMES are those to change, or to list; a name that
    matches none of the items sets a rule for one that is published later.
    """
    zone = parse_zone(timezone)
    asked = sum((opens is not None, hide, show))
    if asked > 1:
        raise click.UsageError("Give one of --from, --hide and --show.")
    if asked and not names:
        raise click.UsageError("Name the items to change.")
    with address.client() as client:
        if names:
            known = list(dict.fromkeys((*hub_course.items(client), *hub_course.rules(client))))
            names = tuple(find_or_new(name, known) for name in names)
        if asked:
            moment = None if opens is None else parse_moment(opens, zone)
            hub_course.set_rules(client, dict.fromkeys(names, Rule(hide, moment)))
        _list(client, names, zone, as_json=as_json)


@click.command("schedule")
@click.argument("schedule_file", type=_Path)
@click.option("--dry-run", is_flag=True, help="Show what would open when.")
@hub_address_options
def schedule(
    *,
    schedule_file: Path,
    dry_run: bool,
    address: Address,
) -> None:
    """Open a hub's items by a schedule.

    SCHEDULE_FILE is a TOML file: start, time, timezone, hide_unlisted, [weeks] and [items]. It
    replaces all that was set before.
    """
    plan = parse_schedule(_text(schedule_file), schedule_file.name)
    changes = {name: Rule(visible_from=moment) for name, moment in plan.opens.items()}
    with address.client() as client:
        published = hub_course.items(client)
        if plan.hide_unlisted:
            changes |= {name: Rule(hidden=True) for name in published if name not in changes}
        if not dry_run:
            hub_course.set_rules(client, changes, replace=True)
    for line in _lines(published, changes, plan.zone):
        click.echo(line)
    if dry_run:
        click.echo("Dry run — nothing was changed.")


def _list(client: HubClient, names: tuple[str, ...], zone: ZoneInfo, *, as_json: bool) -> None:
    published, rules = hub_course.items(client), hub_course.rules(client)
    if names:
        published = {name: kind for name, kind in published.items() if name in names}
        rules = {name: rule for name, rule in rules.items() if name in names}
    if as_json:
        print_json(_as_json(published, rules))
        return
    for line in _lines(published, rules, zone):
        click.echo(line)


def _lines(published: Mapping[str, str], rules: Mapping[str, Rule], zone: ZoneInfo) -> list[str]:
    """Return lines with name, type, state and publication (compatibility-0.3.16.md 10)."""
    kinds = {**published, **{name: "-" for name in rules if name not in published}}
    wide = max((len(name) for name in kinds), default=0)
    now = SystemClock().now()
    lines = []
    for name, kind in kinds.items():
        told = _state(rules.get(name, Rule()), now, zone)
        missing = "" if name in published else "  (not published)"
        lines.append(f"  {name:<{wide}}  {kind:<10}  {told}{missing}")
    return lines


def _state(rule: Rule, now: datetime, zone: ZoneInfo) -> str:
    if rule.hidden:
        return "hidden"
    if rule.visible_from is None:
        return "visible"
    shown = f"{rule.visible_from.astimezone(zone):{_MOMENT}}"
    return f"opens {shown}" if rule.visible_from > now else f"open (since {shown})"


def _as_json(published: Mapping[str, str], rules: Mapping[str, Rule]) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "type": published.get(name),
            "hidden": rules.get(name, Rule()).hidden,
            "visible_from": moment.isoformat()
            if (moment := rules.get(name, Rule()).visible_from)
            else None,
        }
        for name in dict.fromkeys((*published, *rules))
    ]


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read as UTF-8 text.") from error
