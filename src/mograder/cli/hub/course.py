"""``mograder hub sync-users``, tokens, ``visibility`` and ``schedule``.

B35, B36, B47; compatibility-0.3.16.md 10.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from mograder.auth.credentials import (
    CREDENTIAL_ROLES,
    Role,
    demand_no_placeholder,
    make_metrics_token,
    make_token,
)
from mograder.cli.files import read_text
from mograder.cli.shared.course_settings import load_course
from mograder.cli.shared.lazy import has_server_packages, server_part
from mograder.cli.shared.options import EXISTING_FILE, course_dir_option, timezone_option
from mograder.cli.shared.remote import Address, hub_address_options
from mograder.cli.shared.result import Result, aligned, json_option
from mograder.clients import hub_course
from mograder.clients.hub_course import ItemDatesAnswer
from mograder.core.clock import SystemClock
from mograder.core.csv_table import refuse
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.item_dates import END_OF_DAY, Visibility, read_moment, read_opening
from mograder.core.name_lookup import Words, counted, find_name, find_or_new, listed, not_found
from mograder.core.names import INSTRUCTOR, Username, nfc
from mograder.core.operating_system import SYSTEM
from mograder.core.settings import read_environ
from mograder.publishing.schedule import DEFAULT_ZONE, Schedule, parse_schedule, parse_zone
from mograder.store.course.allowlist import numbered_names, parse_users

_METRICS = "metrics"
_MOMENT = "%a %d %b %Y, %H:%M"


@click.command("sync-users")
@click.argument("file", type=EXISTING_FILE)
@click.option("--dry-run", is_flag=True, help="Show the names only.")
@hub_address_options
def sync_users(
    *,
    file: Path,
    dry_run: bool,
    address: Address,
) -> None:
    """Replace the access list of a hub, the names of those who may enter.

    FILE has one username per line; # begins a comment. Students who are not on it lose
    access at once; instructors always have it.
    """
    text = read_text(file)
    bad: list[str] = []
    for number, name in numbered_names(text):
        try:
            Username.claimed(name)
        except InvalidInput as error:
            bad.append(f"line {number}: {error.message}")
    refuse(f"{file} cannot be used; nothing was changed.", bad)
    users = sorted(parse_users(text))
    click.echo(f"Read {len(users)} users from {file}")
    if dry_run:
        for user in users:
            click.echo(f"  {user}")
    else:
        with address.client() as client:
            click.echo(f"Synced {hub_course.sync_users(client, users)} users to hub.")
    if not users:
        may = "could then enter" if dry_run else "may enter now"
        click.echo(f"The list is empty: nobody but instructors and markers {may}.")


@click.command("generate-token")
@click.argument("username")
@click.option(
    "--role",
    type=click.Choice([*(role.value for role in CREDENTIAL_ROLES), _METRICS]),
    default=Role.STUDENT.value,
    show_default=True,
    help="What the person may do; metrics: a program that reads /metrics and nothing else.",
)
@course_dir_option
def generate_token(*, username: str, role: str) -> None:
    """Print a person's token.

    It is for the API and for the sign-in page. MOGRADER_HUB_SECRET must be set to the hub's
    secret. Where the hub's database is at hand, the token is one that is valid after earlier ones
    were revoked.
    """
    is_instructors = username == INSTRUCTOR and role == Role.INSTRUCTOR
    user = Username.of_account(username) if is_instructors else Username.claimed(username)
    secret = read_environ().hub_secret
    if secret is None:
        raise click.ClickException(
            "MOGRADER_HUB_SECRET must be set to the hub's secret; "
            "on a server it is in /etc/mograder/hub-secret."
        )
    key = secret.get_secret_value()
    demand_no_placeholder(key)
    epoch = 0
    if SYSTEM == "linux" and has_server_packages():  # no hub's database is elsewhere
        epoch = server_part("mograder.cli.hub.tokens:note_token")(user, role)
    if role == _METRICS:
        click.echo(make_metrics_token(key, user, epoch))
    else:
        click.echo(make_token(key, user, Role(role), epoch))


@click.command("revoke-token")
@click.argument("username")
@hub_address_options
@course_dir_option
def revoke_token(*, username: str, address: Address) -> None:
    """End all tokens and logins of a person.

    With --url or --ssh the hub there does it; else, whatever the environment names, the database of
    the course here is changed, and a hub that runs on it notices within seconds. generate-token
    then makes a new one, where the hub's database is at hand. A sign-in by another system goes on;
    `lti unlink` ends it. The exit status is 3 for a name of which the hub has no record.
    """
    user = Username.of_account(username)
    if address.given:
        with address.client() as client:
            known = hub_course.revoke_token(client, user)
    else:
        revoke_here = server_part("mograder.cli.hub.tokens:revoke_here", " without --url or --ssh")
        known = revoke_here(user)
        if address.known:
            told = "Warning: only the course here was changed. --url asks the hub at an address."
            click.echo(told, err=True)
    if not known:
        raise NotFound(
            f"This hub has no record of {user}.",
            hint="Is the name spelt right? If there are tokens for it, they are void now.",
        )
    click.echo(f"All tokens and logins of {user} are void.")


@click.command("visibility")
@click.argument("names", nargs=-1)
@click.option("--from", "opens", metavar="DATE", help="Students see them from then on.")
@click.option("--hide", is_flag=True, help="Students do not see them.")
@click.option("--show", is_flag=True, help="Students see them.")
@click.option(
    "--timezone",
    help=f"For dates without one.  [default: the course's `timezone`, else {DEFAULT_ZONE}]",
)
@hub_address_options
@json_option
def visibility(
    *,
    names: tuple[str, ...],
    opens: str | None,
    hide: bool,
    show: bool,
    timezone: str | None,
    address: Address,
) -> Result:
    """Show or change what students see of a hub's items.

    Without an option it lists the items. NAMES are those to change, or to list; a name that
    matches none of the items sets a rule for one that is published later.
    """
    zone = parse_zone(timezone or _course_zone() or DEFAULT_ZONE)
    asked = sum((opens is not None, hide, show))
    if asked > 1:
        raise click.UsageError("Give one of --from, --hide and --show.")
    if asked and not names:
        raise click.UsageError("Name the items to change.")
    with address.client() as client:
        if names:
            published = hub_course.all_items(client)
            known = list(dict.fromkeys((*published, *hub_course.rules(client))))
            names = tuple(find_or_new(name, known) for name in names)
            unknown = [name for name in names if name not in known]
            if unknown and not asked:
                raise not_found(unknown[0], known, Words("item", empty="There are no items."))
            for name in unknown:
                _refuse_beginning(name, published)
        if asked:
            moment = None if opens is None else read_opening(opens, zone)
            hub_course.set_rules(client, dict.fromkeys(names, Visibility(hide, moment)))
        published, rules = hub_course.all_items(client), hub_course.rules(client)
    if names:
        published = {name: kind for name, kind in published.items() if name in names}
        rules = {name: rule for name, rule in rules.items() if name in names}
    return Result(_as_json(published, rules), _lines(published, rules, zone))


@click.command("schedule")
@click.argument("what")
@click.option("--opens", metavar="TIME", help="When students see the item first.")
@click.option("--due", metavar="TIME", help="When it is due.")
@click.option("--closes", metavar="TIME", help="When submissions end.")
@timezone_option
@click.option("--dry-run", is_flag=True, help="Show what would open when.")
@hub_address_options
def schedule(
    *,
    what: str,
    opens: str | None,
    due: str | None,
    closes: str | None,
    timezone: str | None,
    dry_run: bool,
    address: Address,
) -> None:
    """Set dates of an item, or open items by a file.

    WHAT is an item's name. A TIME is such as 2026-12-01T18:00, or 2026-12-01 for the whole day;
    `none` returns to the hub's mograder.toml. Without an option it shows the dates.

    WHAT may also be a TOML file: start, time, timezone, hide_unlisted, [weeks] and [items]. It
    replaces all openings that were set before, and what was hidden by hand; hide_unlisted hides all
    that it does not list. Without a timezone there, --timezone counts, else the course's, else
    Europe/London.
    """
    timezone = timezone or _course_zone()
    given = {"opens": opens, "due": due, "closes": closes}
    texts = {key: text for key, text in given.items() if text is not None}
    file = Path(what)
    if not texts and (file.is_file() or what.endswith(".toml")):
        plan = parse_schedule(read_text(file), file.name, timezone or DEFAULT_ZONE)
        _open_by_file(plan, address, dry_run=dry_run)
        return
    if dry_run:
        raise click.UsageError("--dry-run is for a schedule's file, and this is none.")
    zone = parse_zone(timezone) if timezone else None
    changes = {key: _moment(key, text, zone) for key, text in texts.items()}
    with address.client() as client:
        name = find_name(what, list(hub_course.all_items(client)), Words("item"))
        found = hub_course.set_dates(client, name, changes)
    for line in _dates(name, found, zone):
        click.echo(line)


def _course_zone() -> str:
    return load_course().settings.timezone


def _open_by_file(plan: Schedule, address: Address, *, dry_run: bool) -> None:
    with address.client() as client:
        published, before = hub_course.all_items(client), hub_course.rules(client)
        changes = _openings(plan, tuple(published), before)
        if plan.hide_unlisted:
            # Also what is hidden before it is published: the file does not list it.
            hidden = {name: rule for name, rule in before.items() if rule.hidden}
            hidden |= dict.fromkeys(published, Visibility(hidden=True))
            changes |= {name: rule for name, rule in hidden.items() if name not in changes}
        rules: Mapping[str, Visibility] = changes
        if not dry_run:
            hub_course.set_rules(client, changes, replace=True)
            rules = {**changes, **hub_course.rules(client)}  # also the openings of the settings
    # A dry run does not learn the openings of the hub's settings.
    unless = ", unless the hub's mograder.toml opens it later" if dry_run else ""
    removed = {name: rule for name, rule in before.items() if name not in changes}
    for told in _shown_by_file(removed, rules, published):
        click.echo(f"Warning: {told}{unless}.", err=True)
    for line in _lines(published, rules, plan.zone):
        click.echo(line)
    if dry_run:
        click.echo("Dry run — nothing was changed.")


def _shown_by_file(
    removed: Mapping[str, Visibility], rules: Mapping[str, Visibility], published: Mapping[str, str]
) -> Iterator[str]:
    """Yield what students see because a file removed a rule; ``rules`` are those after it."""
    now = SystemClock().now()
    for name, rule in sorted(removed.items()):
        if rule.visible(now) or not rules.get(name, Visibility()).visible(now):
            continue
        was = "was hidden" if rule.hidden else "was not open yet"
        if name in published:
            yield f"{name} {was}, and is not in the file: students see it from now on"
        else:
            later = "students will see it as soon as it is published"
            yield f"{name} {was}, is not published yet, and is not in the file: {later}"


def _openings(
    plan: Schedule, published: Sequence[str], before: Collection[str]
) -> dict[str, Visibility]:
    """Return the rules of a file by item; a name may be the beginning of a published one.

    An item that the file lists by its whole name is meant by no other name of the file. ``before``
    are the items that have rules.
    """
    others = [name for name in published if name not in plan.opens]
    meant: dict[str, str] = {}
    for name in plan.opens:
        item = name if name in published else find_or_new(name, others)
        if item not in published and item not in before:
            _refuse_beginning(item, others)
        if item in meant:
            raise InvalidInput(
                f"{meant[item]} and {name} both mean {item}.", hint="List each item once."
            )
        meant[item] = name
    return {item: Visibility(visible_from=plan.opens[name]) for item, name in meant.items()}


def _refuse_beginning(name: str, published: Iterable[str]) -> None:
    """Raise InvalidInput if published names begin with a name that would be that of a later item.

    0.3.16 took it for a published one, which would stay as it is here, so visible to students.
    """
    start = nfc(name).casefold()
    begun = [item for item in published if item.casefold().startswith(start)]
    if begun:
        raise InvalidInput(
            f"There is no item '{name}', but {listed(begun)}. Nothing was changed.",
            hint="Give the whole name. A later item of this name has its opening in the hub's "
            f'mograder.toml: opens under [items."{name}"].',
        )


def _moment(key: str, text: str, zone: ZoneInfo | None) -> datetime | None:
    if text == "none":
        return None
    return read_opening(text, zone) if key == "opens" else read_moment(text, zone, END_OF_DAY)


def _dates(name: str, found: ItemDatesAnswer, zone: ZoneInfo | None) -> list[str]:
    def told(at: datetime | None, origin: str = "") -> str:
        if at is None:
            return "not set"
        return f"{at.astimezone(zone):{_MOMENT} %Z}{f'  ({origin})' if origin else ''}"

    lines = [
        name,
        f"  opens   {told(found.opens, found.opens_from)}",
        f"  due     {told(found.due, found.due_from)}",
        f"  closes  {told(found.closes, found.closes_from)}",
    ]
    if found.marks:
        changed = counted(found.marks, "mark has", "marks have")
        lines.append(f"{changed} changed with it; what is released stays until you release again.")
    return lines


def _lines(
    published: Mapping[str, str], rules: Mapping[str, Visibility], zone: ZoneInfo
) -> Iterator[str]:
    """Return lines with name, type, state and publication (compatibility-0.3.16.md 10)."""
    kinds = {**published, **{name: "-" for name in rules if name not in published}}
    now = SystemClock().now()
    rows = []
    for name, kind in kinds.items():
        told = _state(rules.get(name, Visibility()), now, zone)
        missing = "" if name in published else "  (not published)"
        rows.append((name, f"{kind:<10}", f"{told}{missing}"))
    return aligned(rows, indent="  ")


def _state(rule: Visibility, now: datetime, zone: ZoneInfo) -> str:
    if rule.hidden:
        return "hidden"
    if rule.visible_from is None:
        return "visible"
    shown = f"{rule.visible_from.astimezone(zone):{_MOMENT}}"
    return f"opens {shown}" if rule.visible_from > now else f"open (since {shown})"


def _as_json(
    published: Mapping[str, str], rules: Mapping[str, Visibility]
) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "type": published.get(name),
            "hidden": rules.get(name, Visibility()).hidden,
            "visible_from": rules.get(name, Visibility()).visible_from,
        }
        for name in dict.fromkeys((*published, *rules))
    ]
