"""A course on its machine: its server, its submissions, and pages for browsers alone.

``mograder serve`` serves the course (B135-B145, B156; compatibility-0.3.16.md 4), ``mograder
extension pick`` lets one of its submissions count, and ``mograder https export-web`` makes the page
with which an item runs in the browser alone.

Imports that only one command needs, of the server and of the export, are made when it runs.
"""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.extension import opened
from mograder.cli.files import read_text
from mograder.cli.server_tokens import print_tokens
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option, load_course
from mograder.cli.shared.options import EXISTING_DIRECTORY, EXISTING_PATH, PATH
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.item_dates import course_zone
from mograder.core.name_lookup import Words, find_name, listed
from mograder.core.names import FileName, ItemName, Username
from mograder.core.settings import LoadedSettings, read_environ
from mograder.grading.late_work import moment
from mograder.store.assignment_server.assignments import Assignment, Catalogue
from mograder.store.assignment_server.name_registry import (
    PEOPLE_FILE,
    How,
    NameRegistry,
)
from mograder.store.assignment_server.secret import SECRET_FILE, ensure_secret
from mograder.store.submissions.history import RECEIPTS
from mograder.store.submissions.submissions import Submissions

_PORT = 8080
_HIGHEST = 65535


@click.command("serve")
@click.argument("directory", type=EXISTING_DIRECTORY, default=".")
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="Port.  [default: $PORT, 8080]")
@click.option("--host", help="Address.  [default: 127.0.0.1; 0.0.0.0 where $PORT is set]")
@click.option("--release-dir", type=PATH, help="Files in RELEASE/ASSIGNMENT/, without files/.")
@click.option("--submissions-dir", type=PATH, help="Submissions.  [default: [dirs] submitted]")
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
        _print_all(directory, generate_tokens)
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
        loaded=load_course(directory.absolute()),
    )
    listening = run.Listening(
        host=host or default_host,
        port=default_port if port is None else port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        forced=force,
    )
    run.serve_course(options, listening)


def _print_all(root: Path, file: Path) -> None:
    """Print a token for every name in a file, and the instructor's (B144)."""
    from mograder.web.server.services import read_names  # noqa: PLC0415

    names = read_names(read_text(file))
    secret = ensure_secret(root / SECRET_FILE)
    people = NameRegistry(root / PEOPLE_FILE)
    people.note(names, How.ISSUED, SystemClock().now())
    print_tokens(secret, names, people.epoch)


def _code(given: str | None, file: Path | None) -> str:
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


@click.command("export-web")
@click.argument("item")
@click.argument("directory", type=EXISTING_DIRECTORY, default=".")
@click.option("--release-dir", type=EXISTING_DIRECTORY, help="As for mograder serve.")
@click.option("--notebook", metavar="FILE", help="Which notebook, where the item has several.")
@click.option(
    "--pyodide",
    type=EXISTING_PATH,
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

    root = directory.absolute()
    loaded = load_course(root)
    beside = loaded.path(loaded.settings.dirs.release)
    catalogue = Catalogue(root, release_dir, beside)
    known = [each.name for each in catalogue.all()]
    found = catalogue.find(find_name(item, known, Words(where=f"in {root}")))
    name = _notebook(found, notebook)
    with reporting() as report:
        done = export_page(root, found.name, found.directory / name, pyodide, report)
    for each in done.page.missing:
        click.echo(f"Warning: {each} has no build for the browser; imports of it fail.", err=True)
    click.echo(
        f"{found.name}: {name} with marimo {done.page.marimo}, Pyodide {done.page.pyodide} and "
        f"{len(done.wheels)} packages. Serve it with: mograder serve --web {directory}"
    )


@click.command("pick")
@click.argument("assignment")
@click.argument("student")
@click.argument("number", type=click.IntRange(min=1))
@course_option
def pick(*, assignment: str, student: str, number: int, loaded: LoadedSettings) -> None:
    """Let a submission count that was kept beside the one that does.

    A late version does not replace one that was in time, also where an extension comes afterwards.
    NUMBER is that of its receipt. `mograder autograde` grades it then; the others are kept.
    """
    with opened(loaded, writes=False) as extensions:
        name = ItemName.parse(extensions.named(assignment))
    directory = loaded.path(loaded.settings.dirs.submitted)
    submissions = Submissions(directory, records=loaded.state_dir / RECEIPTS)
    found = submissions.pick(Username.parse(student), name, number)
    received = moment(found.received, course_zone(loaded.settings))
    click.echo(plain(f"{student}, {name}: submission {number} counts, received {received}."))


def _notebook(found: Assignment, wanted: str | None) -> FileName:
    """Raise NotFound, or InvalidInput if there are several notebooks and none was chosen."""
    names = sorted(path.name for path in found.directory.glob("*.py"))
    if wanted is not None and wanted not in names:
        hint = f"It has {listed(names)}." if names else ""
        raise NotFound(f"{found.name} has no notebook {wanted}.", hint=hint)
    if wanted is None and len(names) != 1:
        raise InvalidInput(
            f"{found.name} has {len(names)} notebooks: {', '.join(names)}.",
            hint="Name one by --notebook.",
        )
    return FileName.parse(wanted or names[0])
