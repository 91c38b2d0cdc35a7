"""``mograder moodle sync-users``: admit the course's students to the hub (B28 to B34)."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.files import read_bytes
from mograder.cli.moodle.site import Site, site_options
from mograder.cli.shared.console import plain
from mograder.cli.shared.options import EXISTING_FILE, insecure_option, together
from mograder.cli.shared.remote import Address
from mograder.cli.shared.result import Result, json_option, tell
from mograder.clients import hub_course
from mograder.core.errors import NotFound
from mograder.core.settings import LoadedSettings, read_environ
from mograder.exchange.moodle.identities import NamedBy, Naming, Participants, parse_mapping
from mograder.exchange.moodle.participants import (
    configured_on_moodle,
    list_first_participants,
    remember,
    remembered_people,
)
from mograder.store.course.allowlist import Allowlist
from mograder.store.gradebook.gradebook import Gradebook

HEADING = "# Allowed users — synced from Moodle"
"""First line of a list that is written here (compatibility-0.3.16.md 9)."""


naming_options = together(
    click.option(
        "--map",
        "map_file",
        type=EXISTING_FILE,
        help="CSV that says who is who: username, and email, idnumber or user_id.",
    ),
    click.option(
        "--username-from",
        type=click.Choice([each.value for each in NamedBy]),
        help="What usernames are made of where Moodle shows none.",
    ),
)
"""For sites that do not show usernames to teachers."""


def naming_of(map_file: Path | None, username_from: str | None) -> Naming:
    """Return the naming that the options of :func:`naming_options` describe.

    Raises:
        InvalidInput: The file cannot be read or used.
    """
    rows = parse_mapping(read_bytes(map_file), str(map_file)) if map_file else ()
    return Naming(rows, NamedBy(username_from) if username_from else None)


@click.command("sync-users")
@site_options
@click.option("--hub-url", help="Hub base URL.  [env var: MOGRADER_HUB_URL]")
@click.option(
    "--hub-token", help="Instructor token of the hub.  [env var: MOGRADER_HUB_INSTRUCTOR_TOKEN]"
)
@naming_options
@click.option("--dry-run", is_flag=True, help="Show the users only.")
@insecure_option
@json_option
def sync_users(  # one argument per option
    *,
    site: Site,
    hub_url: str | None,
    hub_token: str | None,
    map_file: Path | None,
    username_from: str | None,
    dry_run: bool,
    insecure: bool,
) -> Result:
    """Let the course's students use the hub.

    The participants of the first assignment in mograder.toml that is not marked anonymously replace
    the hub's list of people with access; without a hub's URL they are written to allowed_users.txt
    in the course. Their full names go into the gradebook. People who are not on the list lose
    access at once; instructors always have it.
    """
    loaded = site.loaded
    on_moodle = configured_on_moodle(loaded.settings.assignments)
    naming = naming_of(map_file, username_from)
    address = Address(hub_url, hub_token, None, 8080, insecure)
    to_hub = bool(hub_url or read_environ().hub_url)
    if to_hub and not dry_run and not address.complete:
        raise click.ClickException("--hub-token required (or set MOGRADER_HUB_INSTRUCTOR_TOKEN)")
    with site.client() as client:
        known = remembered_people(loaded.gradebook_path, client.url)
        participants = list_first_participants(client, on_moodle, known, naming)
        url = client.url
    tell(f"Found {len(participants.people)} enrolled users on Moodle.")
    users = participants.users()
    if dry_run:
        for user, name in users.items():
            tell(plain(f"  {user}  ({name})"))
    else:
        _write(loaded, url, participants, naming, address if to_hub else None)
    listed = [{"username": user, "full_name": name} for user, name in users.items()]
    told = {"users": listed, "synced": not dry_run, "to": "hub" if to_hub else "file"}
    return Result(told)


def _write(
    loaded: LoadedSettings,
    url: str,
    participants: Participants,
    naming: Naming,
    address: Address | None,
) -> None:
    """Record the names, then replace the hub's list of users."""
    users = participants.users()
    if not users:
        raise NotFound(
            "Moodle names nobody in this assignment, so the list was left as it is.",
            hint="An empty list would lock every student out. See whether students are enrolled.",
        )
    with Gradebook(loaded.gradebook_path) as gradebook:
        remember(gradebook, url, participants, naming)
    if address is None:
        written = Allowlist(loaded.course_dir / "allowed_users.txt").replace(users, HEADING)
        tell(f"Wrote {len(written)} users to allowed_users.txt.")
        return
    with address.client() as client:
        tell(f"Synced {hub_course.sync_users(client, list(users))} users to hub.")
