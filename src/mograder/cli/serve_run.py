"""The implementation of ``mograder serve``, loaded when the command runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from pydantic import BaseModel, ConfigDict

from mograder.cli.token import print_lines
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput
from mograder.core.settings import (
    LoadedSettings,
    default_settings,
    load_settings,
    read_environ,
)
from mograder.store.assignment_server.name_registry import PEOPLE_FILE, How, NameRegistry
from mograder.store.assignment_server.secret import SECRET_FILE, ensure_secret
from mograder.web.server.run import Listening, serve_course
from mograder.web.server.services import ServerOptions, read_names

_PORT = 8080
_HIGHEST = 65535


class _Given(BaseModel):
    """The options as given on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int | None
    host: str | None
    release_dir: Path | None
    submissions_dir: Path | None
    enrollment_code: str | None
    enrollment_code_file: Path | None
    roster: Path | None
    no_auth: bool
    force: bool
    web: bool
    generate_tokens: Path | None
    tls_cert: Path | None
    tls_key: Path | None


def run(directory: Path, options: Mapping[str, object]) -> None:
    """Serve, or print tokens if that was asked for.

    Raises:
        click.UsageError: Options contradict each other.
        MograderError: As :func:`serve_course` and :func:`print_tokens`.
    """
    given = _Given.model_validate(options)
    code = _code(given)
    if given.generate_tokens is not None:
        print_tokens(directory, given.generate_tokens)
        return
    if (given.tls_cert is None) != (given.tls_key is None):
        raise click.UsageError("Give --tls-cert and --tls-key together.")
    served = ServerOptions(
        root=directory.absolute(),
        release_dir=given.release_dir,
        submissions_dir=given.submissions_dir,
        enrollment_code=code,
        roster=given.roster,
        no_auth=given.no_auth,
        web=given.web,
        loaded=_settings(directory),
    )
    serve_course(served, _listening(given))


def print_tokens(root: Path, file: Path) -> None:
    """Print a token for every name in a file, and the instructor's (B144).

    Raises: :class:`InvalidInput`.
    """
    if not root.is_dir():
        raise InvalidInput(f"There is no directory {root}.", hint="Name the course's directory.")
    try:
        names = read_names(file.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}.") from error
    secret = ensure_secret(root / SECRET_FILE)
    people = NameRegistry(root / PEOPLE_FILE)
    people.note(names, How.ISSUED, SystemClock().now())
    print_lines(secret, names, people.epoch)


def _settings(directory: Path) -> LoadedSettings:
    """Return the course's settings, the defaults where its file has a mistake.

    0.3.16 serves directories whose ``mograder.toml`` it never reads.
    """
    try:
        return load_settings(directory.absolute())
    except InvalidInput as error:
        click.echo(f"Warning: the settings are not used: {error.message}", err=True)
        return default_settings(directory.absolute())


def _code(given: _Given) -> str:
    """Return the enrollment code, empty if there is none."""
    told = read_environ().enrollment_code
    text = given.enrollment_code
    if text is None and told is not None:
        text = told.get_secret_value()
    if given.enrollment_code_file is not None:
        if text is not None:
            raise click.UsageError(
                "Give --enrollment-code (or MOGRADER_ENROLLMENT_CODE) or "
                "--enrollment-code-file, not both."
            )
        try:
            text = given.enrollment_code_file.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(
                f"{given.enrollment_code_file} cannot be read: {error}"
            ) from error
    if text is not None and not text.strip():
        raise click.UsageError("The enrollment code is empty.")
    return (text or "").strip()


def _listening(given: _Given) -> Listening:
    """Return the address to listen on: the options, else the hosting platform's, else loopback."""
    text = read_environ().port.strip()
    if text and (not text.isascii() or not text.isdigit() or int(text[:9]) > _HIGHEST):
        raise click.UsageError(f"$PORT is no port: {text!r}")
    told = int(text) if text else _PORT
    anywhere = "0.0.0.0"  # noqa: S104  # compatibility-0.3.16.md 4
    return Listening(
        host=given.host or (anywhere if text else "127.0.0.1"),
        port=told if given.port is None else given.port,
        tls_cert=given.tls_cert,
        tls_key=given.tls_key,
        forced=given.force,
    )
