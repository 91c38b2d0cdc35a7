"""``mograder grader`` and ``mograder grader-asgi``: the pages of marking without a hub."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.shared.options import EXISTING_DIRECTORY
from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_values import normalise_base_url
from mograder.core.settings import load_settings, read_environ, split_list

_course = click.argument("course_dir", type=EXISTING_DIRECTORY, required=False)
_port = click.IntRange(0, 65535)


@click.command("grader")
@_course
@click.option(
    "-p",
    "--port",
    type=_port,
    help="Port on this machine; 0 takes a free one.  [default: the first free one from 2718]",
)
@click.option("--headless", is_flag=True, help="Do not open a browser.")
@click.option("--base-url", default="", help="Path below which a reverse proxy serves it.")
def grader(course_dir: Path | None, *, port: int | None, headless: bool, base_url: str) -> None:
    """Mark a course on your own machine, in a browser.

    It serves this machine only, to the browser that opens the one-time link that it prints.
    """
    loaded, prefix = load_settings(course_dir), _prefix(base_url)
    from mograder.web.grader import serve_grader  # noqa: PLC0415  # heavy

    serve_grader(loaded, port=port, headless=headless, base_url=prefix)


@click.command("grader-asgi")
@_course
@click.option("-p", "--port", type=_port, default=2718, show_default=True, help="Port.")
@click.option("--host", default="0.0.0.0", show_default=True, help="Address.")  # noqa: S104
@click.option(
    "--base-url",
    help="Path below which a reverse proxy serves it.  [env var: MOGRADER_BASE_URL; default: /]",
)
@click.option(
    "--instructors",
    help="Instructors, separated by commas.  "
    "[env var: MOGRADER_INSTRUCTORS; default: as in [hub] instructors]",
)
@click.option(
    "--markers",
    help="Markers, who see what is open for marking, separated by commas.  "
    "[env var: MOGRADER_MARKERS; default: as in [marking] markers]",
)
@click.option(
    "--trusted-proxies",
    help="Addresses of proxies that name the user in X-Remote-User, separated by commas.  "
    "[env var: MOGRADER_TRUSTED_PROXIES]",
)
@click.option(
    "--trust-local-proxy",
    is_flag=True,
    help="Trust a proxy on this machine too, as at the end of an SSH tunnel.  "
    "[env var: MOGRADER_TRUST_LOCAL_PROXY]",
)
@click.option("--reload", is_flag=True, help="Accepted for 0.3.16; it has no effect.")
def grader_asgi(
    course_dir: Path | None,
    *,
    port: int,
    host: str,
    base_url: str | None,
    trust_local_proxy: bool,
    reload: bool,
    **listed: str | None,
) -> None:
    """Serve the pages of marking behind a reverse proxy that signs people in.

    The proxy names the user in the header X-Remote-User. A request from this machine without a
    proxy is an instructor's.
    """
    loaded, told = load_settings(course_dir), read_environ().grader
    prefix = _prefix(told.base_url if base_url is None else base_url)
    if reload:
        click.echo("--reload has no effect: start the command again after a change.", err=True)
    from mograder.web.grader import proxy_rules, serve_proxied_grader  # noqa: PLC0415  # heavy

    settings = loaded.settings
    rules = proxy_rules(
        split_list(listed["instructors"] or "") or told.instructors or settings.hub.instructors,
        split_list(listed["markers"] or "") or told.markers or settings.marking.markers,
        split_list(listed["trusted_proxies"] or "") or told.trusted_proxies,
        local_proxy=trust_local_proxy or told.trust_local_proxy,
    )
    serve_proxied_grader(loaded, rules, host=host, port=port, base_url=prefix)


def _prefix(base_url: str) -> str:
    try:
        return normalise_base_url(base_url)
    except ValueError as error:
        raise InvalidInput(f"The option --base-url {error}.") from error
