"""``mograder hub lti``: learning platforms, on the machine with the hub's database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import click
import tomlkit
from pydantic import ValidationError

from mograder.auth.credentials import make_code
from mograder.auth.lti_addresses import ToolAddresses
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.hub_database import HERE, current_hub_state, record_here
from mograder.cli.shared.result import tell
from mograder.clients.guarded_http import PrivateAddress, platform_http
from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict, InvalidInput, NotFound, RemoteFailed
from mograder.core.names import Username
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.sections.settings_values import complaint
from mograder.core.settings import LoadedSettings, read_environ
from mograder.operations.sign_in_settings import own_url
from mograder.store.course.allowlist import Allowlist
from mograder.store.external.external_people import ExternalPeople, parsed_subject
from mograder.store.external.lti_platforms import UNREGISTERED, Keys, Platforms, Registrations

_OPEN_TO_ALL = (
    "Everybody who can sign in may come in now, since no platform's course decides it any more."
    " If only some may, write their names into allowed_users.txt."
)


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
@click.option(
    "--teachers",
    type=click.Choice(["named", "all"]),
    default="named",
    show_default=True,
    help="Instructors of this hub are only those named in [hub] instructors, or all whom it calls"
    " instructors. Moodle sends that role for non-editing teachers, too.",
)
@click.option(
    "--assistants",
    is_flag=True,
    help="Its teaching assistants are markers. Moodle never sends that role.",
)
@click.option(
    "--roster",
    type=click.Choice(["off", "show", "allow"]),
    default="off",
    show_default=True,
    help="Read the course's members; allow: nobody else may come in, besides staff and those in"
    " allowed_users.txt.",
)
@click.option("--scores", is_flag=True, help="Send released marks to it.")
@click.option("--private-network", is_flag=True, help="It may have a private address.")
@course_option
def register(
    *,
    platform: str,
    courses: tuple[str, ...],
    loaded: LoadedSettings,
    **choices: object,
) -> None:
    """Print an address at which a platform registers itself, once, within an hour.

    PLATFORM is its address, such as https://moodle.example.org. Its administrator pastes what is
    printed where tools are registered; in Moodle that is Site administration, Plugins, External
    tool, Manage tools. All other values can be changed later only by registering again, or by a
    [[lti.platform]] table in mograder.toml.
    """
    addresses = ToolAddresses(own_url(loaded))
    wanted = _expected(platform, courses, choices)
    _look_up(wanted)
    code = make_code()
    with current_hub_state(loaded) as state:
        Registrations(state.engine).add(code.hash, wanted, SystemClock().now())
        record_here(state, "make address of registration", wanted.issuer)
    click.echo(addresses.registration(code.text))
    click.echo(
        "It works once, within an hour. If the hub had no platform until now, restart it first.",
        err=True,
    )


@lti.command("platforms")
@click.option(
    "--remove",
    metavar="CLIENT_ID",
    help="Remove the registered platform with this client id; those in mograder.toml stay.",
)
@course_option
def platforms(*, remove: str | None, loaded: LoadedSettings) -> None:
    """Print the hub's addresses for platforms, and the platforms as tables for mograder.toml.

    A table in mograder.toml counts before a registered platform of the same issuer and client id.
    """
    addresses = ToolAddresses(own_url(loaded))
    with current_hub_state(loaded) as state:
        found = Platforms(state.engine, loaded.settings.lti)
        if remove is not None:
            decided = found.decide()
            _remove(found, remove)
            record_here(state, "remove platform", remove)
            click.echo(f"The platform with the client id {remove} was removed.")
            users = Allowlist(loaded.course_dir / "allowed_users.txt").listed()
            if decided and not found.decide() and users is None:
                click.echo(_OPEN_TO_ALL, err=True)
            return
        in_file = {each.key for each in loaded.settings.lti.platform}
        listed = found.all()
    for name, address in addresses.named():
        click.echo(f"# {name}: {address}")
    for each in listed:
        click.echo()
        click.echo("# in mograder.toml" if each.key in in_file else "# registered")
        click.echo(_as_toml(each), nl=False)


@lti.command("keys")
@click.option(
    "--rotate", is_flag=True, help="Make a new key; the old one is published 30 days more."
)
@course_option
def keys(*, rotate: bool, loaded: LoadedSettings) -> None:
    """List the hub's keys for platforms, or make a new one.

    The hub makes a new key each year. With --rotate MOGRADER_HUB_SECRET must be set to the
    hub's secret, which encrypts them.
    """
    secret = read_environ().hub_secret
    if rotate and secret is None:
        raise click.ClickException(
            "MOGRADER_HUB_SECRET must be set to the hub's secret, which encrypts the keys."
        )
    with current_hub_state(loaded) as state:
        held = Keys(state.engine, secret.get_secret_value() if secret else "")
        if rotate:
            made = held.rotate(SystemClock().now())
            record_here(state, "make key for platforms", made.kid)
        for key in held.facts():
            retired = f", retired {_day(key.retired_at)}" if key.retired_at else ""
            click.echo(f"{key.kid}  made {_day(key.created_at)}{retired}")


@lti.command("link")
@click.argument("issuer")
@click.argument("subject")
@click.argument("username")
@course_option
def link(*, issuer: str, subject: str, username: str, loaded: LoadedSettings) -> None:
    """Let a person of a platform or provider be USERNAME on this hub.

    ISSUER is its address as `people` and the settings have it, SUBJECT the person's id there; in
    Moodle that is the number of the profile's page.
    """
    user, subject = Username.claimed(username), parsed_subject(subject)
    with current_hub_state(loaded) as state:
        issuers = Platforms(state.engine, loaded.settings.lti).issuers(loaded.settings.oidc.issuer)
        if issuer not in issuers:
            known = ", ".join(issuers) or "none"
            raise NotFound(f"This hub knows no platform or provider {issuer}; it knows {known}.")
        now = SystemClock().now()
        ExternalPeople(state.engine).link(issuer, subject, user, "", HERE, now)
        record_here(state, "link person", f"{user} {issuer} {subject}")
    click.echo(f"{subject} of {issuer} is {user} here.")


@lti.command("unlink")
@click.argument("issuer")
@click.argument("username")
@course_option
def unlink(*, issuer: str, username: str, loaded: LoadedSettings) -> None:
    """Take a person's link away, and end all the person's tokens and logins.

    The next sign-in from there decides the name anew. Nothing of the person's work is changed.
    """
    user = Username.claimed(username)
    with current_hub_state(loaded) as state:
        links = ExternalPeople(state.engine)
        if issuer not in links.issuers_of(user):
            raise NotFound(f"{user} is not linked with {issuer}.")
        state.bump_epoch(user)
        links.unlink(issuer, user)  # last: while the link is there, all this can be done again
        record_here(state, "unlink person", f"{user} {issuer}")
    click.echo(f"{user} is not linked with {issuer} any more; all tokens and logins are void.")


@lti.command("people")
@click.option("--issuer", default="", help="Only people of this platform or provider.")
@course_option
def people(*, issuer: str, loaded: LoadedSettings) -> None:
    """List the people of platforms and providers with their user names, separated by tabs."""
    with current_hub_state(loaded) as state:
        found = ExternalPeople(state.engine).people(issuer)
    if not found:
        tell(f"No person{f' of {issuer}' if issuer else ''} is linked with a user name.", err=True)
    for each in found:
        fields = (each.username, each.issuer, each.subject, _day(each.linked_at))
        click.echo("\t".join((*fields, each.linked_by or "first sign-in")))


def _remove(platforms: Platforms, client_id: str) -> None:
    found = [key for key in platforms.stored() if key[1] == client_id]
    if len(found) > 1:
        raise Conflict(f"Several registered platforms have the client id {client_id}.")
    if not found or not platforms.remove(*found[0]):
        raise NotFound(f"No registered platform has the client id {client_id}.")


def _as_toml(platform: LtiPlatform) -> str:
    """Return a platform as a table of ``mograder.toml``, without the values that are defaults."""
    table = tomlkit.table()
    for name, value in platform.model_dump(exclude_defaults=True).items():
        table.add(name, list(value) if isinstance(value, tuple) else value)
    tables = tomlkit.aot()
    tables.append(table)
    document = tomlkit.document()
    document.add("lti", tomlkit.table(is_super_table=True).add("platform", tables))
    return tomlkit.dumps(document)


def _day(moment: datetime) -> str:
    return moment.date().isoformat()


def _expected(issuer: str, courses: tuple[str, ...], choices: Mapping[str, object]) -> LtiPlatform:
    values = {
        "issuer": issuer.rstrip("/"),
        "client_id": UNREGISTERED,
        "courses": courses,
        **{name: value for name, value in choices.items() if name != "same_names"},
        "names": "same" if choices["same_names"] else "own",
        "scores": "released" if choices["scores"] else "off",
    }
    try:
        return LtiPlatform.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "PLATFORM" if first["loc"][0] == "issuer" else "--course"
        raise InvalidInput(f"{name} {complaint(first)}.") from error


def _look_up(platform: LtiPlatform) -> None:
    """Raise InvalidInput for a private address; warn if the platform's name is not known here."""
    try:
        platform_http(platform).look_up(platform.issuer)
    except PrivateAddress as error:
        raise InvalidInput(
            error.message, hint="If that is intended, give the option --private-network."
        ) from error
    except RemoteFailed as error:
        click.echo(f"Warning: {error.message} Look at the address.", err=True)
