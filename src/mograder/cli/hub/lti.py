"""``mograder hub lti``: learning platforms, on the machine with the hub's database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from pydantic import ValidationError

from mograder.auth.login_links import make_code
from mograder.auth.lti_tool import ToolAddresses, tool_addresses
from mograder.cli.shared.course_settings import load_course
from mograder.cli.shared.hub_database import no_hub, open_hub_state
from mograder.cli.shared.options import Given, course_dir_option
from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.external_settings import LtiPlatform
from mograder.core.settings import LoadedSettings
from mograder.core.validation_messages import complaint
from mograder.store.database import awaits_upgrade
from mograder.store.hub_state import HubState
from mograder.store.lti_registrations import UNREGISTERED, Registrations

_HERE: Final = "command line"


@click.group()
def lti() -> None:
    """Look after the learning platforms that open this hub by LTI 1.3.

    Run it on the hub's machine, as the hub's user, with the hub's environment.
    """


@lti.command("register")
@click.argument("platform")
@click.option(
    "--course",
    "courses",
    multiple=True,
    required=True,
    help="The id of a course there that belongs to this hub; may be repeated.",
)
@click.option(
    "--username",
    type=click.Choice(
        ["ext.user_username", "identities", "lis.person_sourcedid", "custom.username", "email"]
    ),
    default="ext.user_username",
    show_default=True,
    help="Where user names come from.",
)
@click.option("--same-names", is_flag=True, help="Its user names are this hub's user names.")
@click.option("--teachers", is_flag=True, help="Its instructors are instructors of this hub.")
@click.option("--assistants", is_flag=True, help="Its teaching assistants are markers.")
@click.option(
    "--roster",
    type=click.Choice(["off", "show", "allow"]),
    default="off",
    show_default=True,
    help="Read the course's members; allow: nobody else may come in, besides staff.",
)
@click.option("--scores", is_flag=True, help="Send released marks to it.")
@click.option("--private-network", is_flag=True, help="It may have a private address.")
@course_dir_option
@click.pass_obj
def register(
    given: Given,
    /,
    platform: str,
    *,
    courses: tuple[str, ...],
    course_dir: Path | None,
    **choices: object,
) -> None:
    """Print an address at which a platform registers itself, once, within an hour.

    PLATFORM is its address, such as https://moodle.example.org. Its administrator pastes what is
    printed where tools are registered; in Moodle that is Site administration, Plugins, External
    tool, Manage tools. All other values can be changed later only by registering again, or by a
    [[lti.platform]] table in mograder.toml.
    """
    loaded = load_course(given, course_dir)
    addresses = _addresses(loaded)
    wanted = _expected(platform, courses, choices)
    code = make_code()
    with _state(loaded) as state:
        now = _now()
        Registrations(state.engine).add(code.hash, wanted, now)
        state.record(now, "", "make address of registration", wanted.issuer, _HERE, "ok")
    click.echo(addresses.registration(code.text))
    click.echo(
        "It works once, within an hour. If the hub had no platform until now, restart it first.",
        err=True,
    )


def _expected(issuer: str, courses: tuple[str, ...], choices: Mapping[str, object]) -> LtiPlatform:
    """Return the settings of a platform that is to register.

    Raises:
        InvalidInput: The address is no platform's, or a course's id is empty.
    """
    values = {
        "issuer": issuer.rstrip("/"),
        "client_id": UNREGISTERED,
        "courses": courses,
        "username": choices["username"],
        "names": "same" if choices["same_names"] else "own",
        "teachers": choices["teachers"],
        "assistants": choices["assistants"],
        "roster": choices["roster"],
        "scores": "released" if choices["scores"] else "off",
        "private_network": choices["private_network"],
    }
    try:
        return LtiPlatform.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "PLATFORM" if first["loc"][0] == "issuer" else "--course"
        raise InvalidInput(f"{name} {complaint(first)}.") from error


def _addresses(loaded: LoadedSettings) -> ToolAddresses:
    return tool_addresses(loaded.settings.hub.public_url, loaded.settings.hub.base_url)


@contextmanager
def _state(loaded: LoadedSettings) -> Iterator[HubState]:
    """Open the hub's database.

    Raises:
        NotFound: No hub has run here.
        Conflict: The hub of an earlier version has run last.
    """
    with open_hub_state(loaded) as state:
        if state is None:
            raise no_hub(loaded)
        if awaits_upgrade(state.engine):
            raise Conflict(
                "The hub's database was made by an earlier version.",
                hint="Start the hub of this version once, which upgrades it.",
            )
        yield state


def _now() -> datetime:
    return SystemClock().now()
