"""``mograder hub check --session``: opens and closes a session through the hub's HTTP interface.

It publishes a demo with one cell, which students do not see, runs it, and removes it again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.auth.credentials import Role, make_token
from mograder.clients.certificate import trusting
from mograder.clients.file_upload import Upload
from mograder.clients.hub import HubClient
from mograder.core.errors import MograderError, RemoteFailed
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks import Progress
from mograder.operations.report import Line, note, ok, problem
from mograder.store.filesystem.files import remove_tree

NAME = "mograder-check"
"""The name of the item, and of the user that runs it."""

NOTEBOOK = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo"]
# mograder-type = "demo"
# ///
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    mo.md("It works.")
    return


if __name__ == "__main__":
    app.run()
"""


class _Started(BaseModel):
    model_config = ConfigDict(extra="ignore")

    url: str


def examine_session(
    loaded: LoadedSettings,
    environ: Environ,
    url: str | None,
    progress: Progress,
    authority: Path | None = None,
) -> Line:
    """Open a session on the running hub, request its page, and close it.

    ``url`` is the hub's address, by default the local one; ``authority`` is a file with the
    certificate of an additional authority to trust.
    """
    if environ.hub_secret is None:
        return note("session", "session: not tried, since the hub's secret is not at hand")
    hub = loaded.settings.hub
    address = url or f"http://{hub.here}{hub.base_url}"
    token = make_token(environ.hub_secret.get_secret_value(), NAME, Role.INSTRUCTOR)
    try:
        transport = httpx.HTTPTransport(verify=trusting(authority)) if authority else None
        with HubClient(address, token, insecure=True, transport=transport) as client:
            _try_session(client, progress)
    except MograderError as error:
        return problem("session", f"session: {error.message}", error.hint)
    finally:
        remove_tree(loaded.path(hub.release_dir) / NAME)
    return ok("session", f"session: one was opened at {address}, answered, and was closed")


def _try_session(client: HubClient, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="mograder-check-") as place:
        notebook = Path(place) / f"{NAME}.py"
        notebook.write_text(NOTEBOOK, "utf-8")
        client.publish(NAME, "demo", [Upload(notebook.name, notebook)], progress)
    progress("Starting a session")
    try:
        started = _Started.model_validate_json(client.ask("POST", f"/start-run/{NAME}"))
        page = client.ask("GET", f"/{quote(started.url)}")
    except ValidationError as error:
        raise RemoteFailed("The hub does not say where the session is.") from error
    finally:
        client.ask("POST", f"/stop-edit/{NAME}/{NAME}?mode=run")
    if b"marimo" not in page:
        raise RemoteFailed("The session's server answers something else than marimo's page.")
