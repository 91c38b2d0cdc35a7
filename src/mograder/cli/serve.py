"""A course over plain HTTPS, on its machine: the server, the tokens, pages for browsers alone.

``mograder serve`` serves the course (B135-B145, B156), ``mograder token`` makes its tokens, and
``mograder https export-web`` makes the page with which an item runs in the browser alone. The
printed form of tokens is in compatibility-0.3.16.md 1, the server in 4.

Imports that only one command needs, of the server and of the export, are made when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.auth.credentials import Role, make_token
from mograder.cli.files import read_text
from mograder.cli.shared.options import EXISTING_DIRECTORY, PATH
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.names import INSTRUCTOR, FileName, Username
from mograder.core.settings import (
    LoadedSettings,
    default_settings,
    load_settings,
    read_environ,
)
from mograder.store.assignment_server.assignments import Assignment, Catalogue
from mograder.store.assignment_server.name_registry import (
    PEOPLE_FILE,
    How,
    NameRegistry,
    parse_username,
)
from mograder.store.assignment_server.secret import SECRET_FILE, ensure_secret, read_secret

_PORT = 8080
_HIGHEST = 65535
_LIMIT = 4096
_UNNOTED = (
    "the server does not learn of these names. Until their tokens are used, others can register "
    "them, and for a name whose tokens were ended this one is void. Run it on the server, in the "
    "directory that is served."
)


@click.command("serve")
@click.argument("directory", type=PATH, default=".")
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="Port.  [default: $PORT, 8080]")
@click.option("--host", help="Address.  [default: 127.0.0.1; 0.0.0.0 where $PORT is set]")
@click.option("--release-dir", type=PATH, help="Files in RELEASE/ASSIGNMENT/, without files/.")
@click.option("--submissions-dir", type=PATH, help="Submissions.  [default: DIRECTORY/submitted]")
@click.option(
    "--enrollment-code",
    help="Let students register who know this code.  [env var: MOGRADER_ENROLLMENT_CODE]",
)
@click.option("--enrollment-code-file", type=PATH, help="The same, read from a file.")
@click.option("--roster", type=PATH, help="Only names in this file may register, one a line.")
@click.option("--no-auth", is_flag=True, help="Ask nobody for a token; for local testing.")
@click.option("--force", is_flag=True, help="Let others in with --no-auth, too.")
@click.option("--web", is_flag=True, help="Let students work in the browser alone, too.")
@click.option("--generate-tokens", type=PATH, help="Print tokens for the names in a file; exit.")
@click.option("--tls-cert", type=PATH, help="Serve HTTPS with this certificate chain (PEM).")
@click.option("--tls-key", type=PATH, help="The certificate's key (PEM).")
def serve(  # noqa: PLR0913  # one argument per option
    *,
    directory: Path,
    port: int | None,
    host: str | None,
    release_dir: Path | None,
    submissions_dir: Path | None,
    enrollment_code: str | None,
    enrollment_code_file: Path | None,
    roster: Path | None,
    no_auth: bool,
    force: bool,
    web: bool,
    generate_tokens: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Serve a course over HTTPS, without Moodle.

    It hands out assignments, takes submissions and gives grades and feedback back. Every
    directory in DIRECTORY with files/ in it is an assignment. Put a front with HTTPS before it,
    or give it a certificate.
    """
    code = _code(enrollment_code, enrollment_code_file)
    if generate_tokens is not None:
        _print_tokens(directory, generate_tokens)
        return
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("Give --tls-cert and --tls-key together.")
    from mograder.web.server import run, services  # noqa: PLC0415

    default_host, default_port = _usual_address()
    options = services.ServerOptions(
        root=directory.absolute(),
        release_dir=release_dir,
        submissions_dir=submissions_dir,
        enrollment_code=code,
        roster=roster,
        no_auth=no_auth,
        web=web,
        loaded=_settings(directory),
    )
    listening = run.Listening(
        host=host or default_host,
        port=default_port if port is None else port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        forced=force,
    )
    run.serve_course(options, listening)


def _print_tokens(root: Path, file: Path) -> None:
    """Print a token for every name in a file, and the instructor's (B144).

    Raises: :class:`InvalidInput`.
    """
    if not root.is_dir():
        raise InvalidInput(f"There is no directory {root}.", hint="Name the course's directory.")
    from mograder.web.server.services import read_names  # noqa: PLC0415

    names = read_names(read_text(file))
    secret = ensure_secret(root / SECRET_FILE)
    people = NameRegistry(root / PEOPLE_FILE)
    people.note(names, How.ISSUED, SystemClock().now())
    _print_lines(secret, names, people.epoch)


def _settings(directory: Path) -> LoadedSettings:
    """Return the course's settings, the defaults where its file has a mistake.

    0.3.16 serves directories whose ``mograder.toml`` it never reads.
    """
    try:
        return load_settings(directory.absolute())
    except InvalidInput as error:
        click.echo(f"Warning: the settings are not used: {error.message}", err=True)
        return default_settings(directory.absolute())


def _code(given: str | None, file: Path | None) -> str:
    """Return the enrollment code, empty if there is none."""
    told = read_environ().enrollment_code
    text = told.get_secret_value() if given is None and told is not None else given
    if file is not None:
        if text is not None:
            raise click.UsageError(
                "Give --enrollment-code (or MOGRADER_ENROLLMENT_CODE) or "
                "--enrollment-code-file, not both."
            )
        text = read_text(file)
    if text is not None and not text.strip():
        raise click.UsageError("The enrollment code is empty.")
    return (text or "").strip()


def _usual_address() -> tuple[str, int]:
    """Return the host and port to listen on without options: the hosting platform's, else ours."""
    text = read_environ().port.strip()
    if text and (not text.isascii() or not text.isdigit() or int(text[:9]) > _HIGHEST):
        raise click.UsageError(f"$PORT is no port: {text!r}")
    # compatibility-0.3.16.md 4
    return ("0.0.0.0", int(text)) if text else ("127.0.0.1", _PORT)  # noqa: S104


@dataclass(frozen=True, slots=True)
class Source:
    """The source of the secret; at most one of the three is given."""

    file: Path | None
    stdin: bool
    text: str | None

    def read(self) -> str:
        """Return the secret.

        Raises: ``click.UsageError``, :class:`InvalidInput`.
        """
        if sum((self.file is not None, self.stdin, self.text is not None)) > 1:
            raise click.UsageError("Give one of --secret-file, --secret-stdin and --secret only.")
        if self.stdin:
            secret = sys.stdin.read(_LIMIT).strip()
        elif self.text is not None:
            secret = self.text.strip()
        else:
            return read_secret(self.path)
        if not secret:
            raise InvalidInput("The secret is empty.")
        return secret

    @property
    def path(self) -> Path:
        """The secret's file, if it is read from one."""
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
    type=click.Path(path_type=Path),
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
    names = tuple(_parse(name, instructor=revoke) for name in usernames)
    people = source.people()
    if revoke or reset:
        _end(people, names, How.REVOKED if revoke else How.RESET)
        return
    if people is None:
        click.echo(f"Warning: {_UNNOTED}", err=True)
    else:
        _note(people, names)
    _print_lines(key, names, people.epoch if people else lambda _: 0)


def _parse(name: str, *, instructor: bool) -> Username:
    """Return the person's name; the instructor's is accepted too, to end its tokens."""
    return Username.of_account(name) if instructor and name == INSTRUCTOR else parse_username(name)


def _end(people: NameRegistry | None, names: tuple[Username, ...], how: How) -> None:
    if people is None:
        raise click.UsageError(
            f"Run this on the server, where its {SECRET_FILE} is: what is ended is noted beside it."
        )
    for name in names:
        people.end(name, how, SystemClock().now())
        click.echo(f"All tokens of {name} are void.")


def _note(people: NameRegistry, names: tuple[Username, ...]) -> None:
    """Record the names as given out; without write permission, tokens are still printed."""
    try:
        people.note(names, How.ISSUED, SystemClock().now())
    except (OSError, MograderError) as error:
        click.echo(f"Warning: these names can still be registered by others: {error}", err=True)


def _print_lines(secret: str, names: Sequence[Username], epoch_of: Callable[[str], int]) -> None:
    """Print a line for each person, an empty one, and the instructor's."""
    for name in names:
        click.echo(f"{name}: {make_token(secret, name, epoch=epoch_of(name))}")
    click.echo()
    instructor = make_token(secret, INSTRUCTOR, Role.INSTRUCTOR, epoch_of(INSTRUCTOR))
    click.echo(f"instructor: {instructor}")


@click.command("export-web")
@click.argument("item")
@click.argument("directory", type=EXISTING_DIRECTORY, default=".")
@click.option("--release-dir", type=EXISTING_DIRECTORY, help="As for mograder serve.")
@click.option("--notebook", metavar="FILE", help="Which notebook, where the item has several.")
@click.option(
    "--pyodide",
    type=click.Path(exists=True, path_type=Path),
    help="Pyodide's npm package (.tgz) or its directory.  [default: download it from npm]",
)
def export_web(
    *,
    item: str,
    directory: Path,
    release_dir: Path | None,
    notebook: str | None,
    pyodide: Path | None,
) -> None:
    """Make an item's page for the browser alone (instructors).

    DIRECTORY is the one that mograder serve serves. The page runs the notebook in the student's
    browser, without a hub and without Python on the student's computer. marimo, Pyodide and the
    notebook's packages are copied to DIRECTORY/.mograder/web, so that the page needs no other
    server. Serve it with mograder serve --web.
    """
    # Imported here, since the server and the tokens do without it.
    from mograder.cli.shared.output import reporting  # noqa: PLC0415
    from mograder.publishing.browser_export import export_page  # noqa: PLC0415
    from mograder.web.server.services import ServerOptions, release_directory  # noqa: PLC0415

    root = directory.absolute()
    release = release_directory(ServerOptions(root, release_dir))
    found = Catalogue(root, release).find(item)
    name = _notebook(found, notebook)
    with reporting() as report:
        done = export_page(root, found.name, found.directory / name, pyodide, report)
    for each in done.page.missing:
        click.echo(f"Warning: {each} has no build for the browser; imports of it fail.", err=True)
    click.echo(
        f"{found.name}: {name} with marimo {done.page.marimo}, Pyodide {done.page.pyodide} and "
        f"{len(done.wheels)} packages. Serve it with: mograder serve --web {directory}"
    )


def _notebook(found: Assignment, wanted: str | None) -> FileName:
    """Return the name of the item's notebook.

    Raises: :class:`NotFound`, :class:`InvalidInput` if there are several and none was chosen.
    """
    names = sorted(path.name for path in found.directory.glob("*.py"))
    if wanted is not None and wanted not in names:
        raise NotFound(f"{found.name} has no notebook {wanted}.")
    if wanted is None and len(names) != 1:
        raise InvalidInput(
            f"{found.name} has {len(names)} notebooks: {', '.join(names)}.",
            hint="Name one by --notebook.",
        )
    return FileName.parse(wanted or names[0])
