"""``mograder https export-web``: an item's page for the browser alone."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.shared.options import EXISTING_DIRECTORY
from mograder.cli.shared.output import reporting
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import FileName
from mograder.publishing.browser.export import export_page
from mograder.store.assignment_server.assignments import Assignment, Catalogue
from mograder.web.server.services import ServerOptions, release_directory


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
