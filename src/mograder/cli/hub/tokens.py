"""Tokens and sign-in links in the hub's database, on its machine (B47, B105)."""

from __future__ import annotations

import click

from mograder.auth.credentials import (
    CREDENTIAL_ROLES,
    LINK_LIFE,
    Role,
    make_code,
)
from mograder.cli.shared.course_settings import load_course
from mograder.cli.shared.hub_database import current_hub_state, record_here
from mograder.cli.shared.options import course_dir_option
from mograder.clients.server_url import parse_hub_url
from mograder.core.clock import SystemClock
from mograder.core.names import Username
from mograder.core.settings import read_environ
from mograder.store.hub.hub_state import existing_state, is_recorded

_role_option = click.option(
    "--role",
    type=click.Choice([role.value for role in CREDENTIAL_ROLES]),
    default=Role.STUDENT.value,
    show_default=True,
    help="What the person may do.",
)


def note_token(user: Username, role: str) -> int:
    """Record in the database here, if there is one, that a token is made; return its epoch.

    The epoch is the number of times that the user's tokens were revoked, 0 without a database.
    """
    with existing_state(load_course()) as state:
        if state is None:
            return 0
        record_here(state, f"make {role} token", user)
        return state.epoch(user)


def revoke_here(user: Username) -> bool:
    """Revoke in the database of the course here; return whether it has any record of the user."""
    loaded = load_course()
    with current_hub_state(loaded) as state:
        known = is_recorded(loaded, state, user)
        state.bump_epoch(user)
        record_here(state, "revoke token", user)
    return known


@click.command("login-link")
@click.argument("username")
@_role_option
@click.option("--url", help="Hub base URL.  [env var: MOGRADER_HUB_URL; default: as configured]")
@course_dir_option
def login_link(*, username: str, role: str, url: str | None) -> None:
    """Print a link that signs a person in once.

    It is good for 15 minutes. Run it on the hub's machine, as the hub's user: the link is kept
    in the hub's database.
    """
    user, loaded = Username.claimed(username), load_course()
    hub, told = loaded.settings.hub, url or read_environ().hub_url
    base = f"{hub.public_url or f'http://{hub.here}'}{hub.base_url}"
    if told:
        base = parse_hub_url(told, insecure=True)
    code = make_code()
    with current_hub_state(loaded) as state:
        state.add_link(code.hash, user, Role(role), SystemClock().now() + LINK_LIFE)
        record_here(state, f"make {role} sign-in link", user)
    click.echo(f"{base}/login/link?code={code.text}")
