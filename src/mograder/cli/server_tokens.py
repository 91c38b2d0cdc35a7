"""``mograder token``: the tokens of a served course (B142, B143).

Their printed form is in compatibility-0.3.16.md 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.auth.credentials import Role, make_token
from mograder.cli.shared.options import PATH
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.names import INSTRUCTOR, Username
from mograder.store.assignment_server.name_registry import (
    PEOPLE_FILE,
    How,
    NameRegistry,
    parse_username,
)
from mograder.store.assignment_server.secret import SECRET_FILE, read_secret

_LIMIT = 4096
_UNNOTED = (
    "the server does not learn of these names. Until their tokens are used, others can register "
    "them, and for a name whose tokens were ended this one is void. Run it on the server, in the "
    "directory that is served."
)


@dataclass(frozen=True, slots=True)
class Source:
    """The source of the secret; at most one of the three is given."""

    file: Path | None
    stdin: bool
    text: str | None

    def read(self) -> str:
        if sum((self.file is not None, self.stdin, self.text is not None)) > 1:
            raise click.UsageError("Give one of --secret-file, --secret-stdin and --secret only.")
        if self.stdin:
            try:
                secret = sys.stdin.read(_LIMIT).strip()
            except UnicodeDecodeError as error:  # as of a file that PowerShell has written
                told = "The secret on standard input is not UTF-8 text."
                raise InvalidInput(told, hint="Save it as UTF-8.") from error
        elif self.text is not None:
            secret = self.text.strip()
        else:
            return read_secret(self.path)
        if not secret:
            raise InvalidInput("The secret is empty.")
        return secret

    @property
    def path(self) -> Path:
        return self.file or Path(SECRET_FILE)

    def people(self) -> NameRegistry | None:
        """Return the names registered at the server of the secret, if its directory is known."""
        if self.stdin or self.text is not None or self.path.name != SECRET_FILE:
            return None
        return NameRegistry(self.path.parent / PEOPLE_FILE)


@click.command("token")
@click.argument("usernames", nargs=-1, required=True)
@click.option(
    "--secret-file",
    type=PATH,
    help=f"The server's secret.  [default: ./{SECRET_FILE}]",
)
@click.option("--secret-stdin", is_flag=True, help="Read the secret from standard input.")
@click.option("--secret", help="The secret itself; others on this machine may see it.")
@click.option("--revoke", is_flag=True, help="End these people's tokens instead.")
@click.option("--reset", is_flag=True, help="End these people's tokens and give the names free.")
def token(
    usernames: tuple[str, ...],
    secret_file: Path | None,
    secret_stdin: bool,
    secret: str | None,
    *,
    revoke: bool,
    reset: bool,
) -> None:
    """Make the tokens of a served course.

    One for each person is printed, and the instructor's. Run it in the directory that is served,
    where the secret is: a name that is given out there cannot be registered by somebody else.
    """
    source = Source(secret_file, secret_stdin, secret)
    key = source.read()
    if revoke and reset:
        raise click.UsageError("Give --revoke or --reset, not both.")
    names = tuple(
        # The instructor's tokens can be ended, too.
        Username.of_account(name) if revoke and name == INSTRUCTOR else parse_username(name)
        for name in usernames
    )
    people = source.people()
    if revoke or reset:
        if people is None:
            raise click.UsageError(
                f"Run this on the server, where its {SECRET_FILE} is: what is ended is noted "
                "beside it."
            )
        for name in names:
            people.end(name, How.REVOKED if revoke else How.RESET, SystemClock().now())
            click.echo(f"All tokens of {name} are void.")
        return
    if people is None:
        click.echo(f"Warning: {_UNNOTED}", err=True)
    else:
        try:
            people.note(names, How.ISSUED, SystemClock().now())
        except (OSError, MograderError) as error:  # tokens are printed all the same
            told = f"Warning: these names can still be registered by others: {error}"
            click.echo(told, err=True)
    print_tokens(key, names, people.epoch if people else lambda _: 0)


def print_tokens(secret: str, names: Sequence[Username], epoch_of: Callable[[str], int]) -> None:
    """Print a line for each person, an empty one, and the instructor's."""
    for name in names:
        click.echo(f"{name}: {make_token(secret, name, epoch=epoch_of(name))}")
    click.echo()
    instructor = make_token(secret, INSTRUCTOR, Role.INSTRUCTOR, epoch_of(INSTRUCTOR))
    click.echo(f"instructor: {instructor}")
