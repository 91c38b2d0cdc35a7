"""``mograder hub publish``: send a release to a hub and follow its environment being built."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.cli.course import load_course
from mograder.cli.options import (
    Given,
    course_dir_option,
    hub_token_option,
    hub_url_option,
    insecure_option,
    json_option,
)
from mograder.cli.output import reporting
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.settings import read_environ
from mograder.publishing.local import LocalRelease, find_release, read_release
from mograder.store.releases import ItemKind
from mograder.transports.hub import HubClient


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the command line asks for, beside the assignment and the hub."""

    force: bool
    dry_run: bool
    no_warm: bool
    as_json: bool

    @property
    def say(self) -> Callable[[str], None]:
        """Print for people, unless a program reads."""
        return (lambda _: None) if self.as_json else click.echo


@click.command("publish")
@click.argument("assignment")
@hub_url_option
@hub_token_option
@click.option("--force", is_flag=True, help="Skip the verification against Moodle.")
@click.option("--lecture", is_flag=True, help="Publish as a lecture (implies --force).")
@click.option("--dry-run", is_flag=True, help="Preview only, do not publish.")
@click.option(
    "--moodle-assignment",
    expose_value=False,
    help="Moodle assignment name, for the verification.  [default: as ASSIGNMENT]",
)
@click.option("--no-warm", is_flag=True, help="Do not ask a hub of 0.3.16 to warm its cache.")
@insecure_option
@json_option
@course_dir_option
@click.pass_obj
def publish(  # noqa: PLR0913  # one argument per option
    given: Given,
    /,
    assignment: str,
    *,
    url: str | None,
    token: str | None,
    force: bool,
    lecture: bool,
    dry_run: bool,
    no_warm: bool,
    insecure: bool,
    as_json: bool,
    course_dir: Path | None,
) -> None:
    """Publish an assignment or a lecture to a hub.

    ASSIGNMENT is a released item's name, its unique beginning, or a directory. The notebook, the
    plain files beside it and its public/ folder are sent; hidden files and what exports leave
    behind (.html, .zip) are not. The old release stays until the hub has checked the new one and
    built its environment.
    """
    loaded = load_course(given, course_dir)
    wishes = _Wishes(force or lecture, dry_run, no_warm, as_json)
    release = _find(assignment, loaded.path(loaded.settings.dirs.release))
    kind = ItemKind.LECTURE if lecture else release.detected or ItemKind.ASSIGNMENT
    _announce(release, kind, lecture, wishes)
    _refuse_unverified(kind, wishes)
    if dry_run:
        wishes.say("Dry run — not publishing.")
        _print_json(release, kind, published=False, wishes=wishes)
        return
    _send(release, kind, _client(url, token, insecure=insecure), wishes)


def _find(assignment: str, release_dir: Path) -> LocalRelease:
    """Find and list the release; what is wrong here ends with 1, as it always did."""
    try:
        return read_release(find_release(assignment, release_dir))
    except (NotFound, InvalidInput) as error:
        raise click.ClickException("\n".join(filter(None, (error.message, error.hint)))) from error


def _announce(release: LocalRelease, kind: ItemKind, lecture: bool, wishes: _Wishes) -> None:
    wishes.say(f"{kind.value.capitalize()}: {release.name}")
    wishes.say(f"Local files: {', '.join(file.name for file in release.files)}")
    if release.left_out:
        wishes.say(f"Left out: {', '.join(release.left_out)}")
    if release.detected is ItemKind.LECTURE and not lecture:
        wishes.say("Auto-detected lecture from mograder-type metadata.")


def _refuse_unverified(kind: ItemKind, wishes: _Wishes) -> None:
    if wishes.force or kind is not ItemKind.ASSIGNMENT:
        return
    raise click.ClickException(
        "Verification against Moodle is not available in this version yet; nothing was sent.\n"
        "Use --force to publish without it."
    )


def _client(url: str | None, token: str | None, *, insecure: bool) -> HubClient:
    environ = read_environ()
    secret = environ.hub_instructor_token
    token = token or (secret.get_secret_value() if secret else None)
    if not token:
        raise click.ClickException("--token required (or set MOGRADER_HUB_INSTRUCTOR_TOKEN)")
    url = url or environ.hub_url
    if not url:
        raise click.ClickException("--url or --ssh required (or set MOGRADER_HUB_URL)")
    return HubClient(url, token.strip(), insecure=insecure)


def _send(release: LocalRelease, kind: ItemKind, client: HubClient, wishes: _Wishes) -> None:
    with client:
        with reporting(quiet=wishes.as_json) as report:
            report("Sending the files…")
            published = client.publish(release.name, kind.value, release.files, report)
        wishes.say(f"Published {len(release.files)} files to hub.")
        if not published.warmed and not wishes.no_warm:
            wishes.say("Warming uv cache...")
            warmed = client.warm_cache()
            wishes.say(f"Warmed {len(warmed)} notebooks: {', '.join(warmed)}")
    _print_json(release, kind, published=True, wishes=wishes)


def _print_json(release: LocalRelease, kind: ItemKind, *, published: bool, wishes: _Wishes) -> None:
    if wishes.as_json:
        answer = {
            "name": release.name,
            "type": kind.value,
            "files": [file.name for file in release.files],
            "left_out": list(release.left_out),
            "published": published,
        }
        click.echo(json.dumps(answer, ensure_ascii=False))
