"""``mograder hub publish``: send a release to a hub and follow its environment being built."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.cli.course import load_course
from mograder.cli.options import Given, course_dir_option, json_option
from mograder.cli.output import reporting
from mograder.cli.remote import Address, hub_address_options
from mograder.core.errors import InvalidInput, NotFound
from mograder.publishing.changes import Changes, changes, digests
from mograder.publishing.local import LocalRelease, find_release, read_release
from mograder.store.releases import ItemKind
from mograder.transports.hub import HubClient


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the command line asks for, beside the assignment and the hub.

    ``kind`` is what the item is to be published as, None for what its notebook says.
    """

    kind: ItemKind | None
    force: bool
    again: bool
    dry_run: bool
    no_warm: bool
    as_json: bool

    @property
    def say(self) -> Callable[[str], None]:
        """Print for people, unless a program reads."""
        return (lambda _: None) if self.as_json else click.echo


@click.command("publish")
@click.argument("assignment")
@hub_address_options
@click.option("--force", is_flag=True, help="Skip the verification against Moodle.")
@click.option("--lecture", is_flag=True, help="Publish as a lecture (implies --force).")
@click.option("--demo", is_flag=True, help="Publish as a demo, which no list shows.")
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@click.option("--again", is_flag=True, help="Send it even if the hub holds exactly this.")
@click.option(
    "--moodle-assignment",
    expose_value=False,
    help="Moodle assignment name, for the verification.  [default: as ASSIGNMENT]",
)
@click.option("--no-warm", is_flag=True, help="Do not ask a hub of 0.3.16 to warm its cache.")
@json_option
@course_dir_option
@click.pass_obj
def publish(  # noqa: PLR0913  # one argument per option
    given: Given,
    /,
    assignment: str,
    *,
    address: Address,
    force: bool,
    lecture: bool,
    demo: bool,
    dry_run: bool,
    again: bool,
    no_warm: bool,
    as_json: bool,
    course_dir: Path | None,
) -> None:
    """Publish an assignment or a lecture to a hub.

    ASSIGNMENT is a released item's name, its unique beginning, or a directory. The notebook, the
    plain files beside it and its public/ folder are sent; hidden files and what exports leave
    behind (.html, .zip) are not. The old release stays until the hub has checked the new one and
    built its environment. Where the hub holds exactly this already, nothing is sent.
    """
    if lecture and demo:
        raise click.UsageError("An item is a lecture or a demo, not both.")
    loaded = load_course(given, course_dir)
    stated = ItemKind.LECTURE if lecture else ItemKind.DEMO if demo else None
    wishes = _Wishes(stated, force or lecture or demo, again, dry_run, no_warm, as_json)
    release = _find(assignment, loaded.path(loaded.settings.dirs.release))
    kind = wishes.kind or release.detected or ItemKind.ASSIGNMENT
    _announce(release, kind, wishes)
    _refuse_unverified(kind, wishes)
    if dry_run:
        _preview(release, kind, address, wishes)
        return
    with address.client() as client:
        _send(release, kind, client, wishes)


def _find(assignment: str, release_dir: Path) -> LocalRelease:
    """Find and list the release; what is wrong here ends with 1, as it always did."""
    try:
        return read_release(find_release(assignment, release_dir))
    except (NotFound, InvalidInput) as error:
        raise click.ClickException("\n".join(filter(None, (error.message, error.hint)))) from error


def _announce(release: LocalRelease, kind: ItemKind, wishes: _Wishes) -> None:
    wishes.say(f"{kind.value.capitalize()}: {release.name}")
    wishes.say(f"Local files: {', '.join(file.name for file in release.files)}")
    if release.left_out:
        wishes.say(f"Left out: {', '.join(release.left_out)}")
    if release.detected is ItemKind.LECTURE and wishes.kind is None:
        wishes.say("Auto-detected lecture from mograder-type metadata.")


def _refuse_unverified(kind: ItemKind, wishes: _Wishes) -> None:
    if wishes.force or kind is not ItemKind.ASSIGNMENT:
        return
    raise click.ClickException(
        "Verification against Moodle is not available in this version yet; nothing was sent.\n"
        "Use --force to publish without it."
    )


def _preview(release: LocalRelease, kind: ItemKind, address: Address, wishes: _Wishes) -> None:
    """Tell what would change on the hub; without a hub, what would be sent was told already."""
    found: Changes | None = None
    if address.complete:
        with address.client() as client:
            found = _compare(release, kind, client)
        _tell_changes(found, kind, wishes)
    wishes.say("Dry run — not publishing.")
    _print_json(release, kind, found, published=False, wishes=wishes)


def _compare(release: LocalRelease, kind: ItemKind, client: HubClient) -> Changes:
    local = digests(release.files)
    return changes(local, kind.value, client.held(release.name, tuple(local)))


def _tell_changes(found: Changes, kind: ItemKind, wishes: _Wishes) -> None:
    if found.none:
        wishes.say("Unchanged: the hub holds exactly this.")
        return
    if found.kind_before:
        wishes.say(f"  type: {found.kind_before} becomes {kind.value}")
    named = {
        "new": found.new,
        "changed": found.changed,
        "unchanged": found.unchanged,
        "removed": found.removed,
    }
    for word, names in named.items():
        for name in names:
            wishes.say(f"  {word}: {name}")
    if not found.exact:
        wishes.say("  (This hub does not tell which of its files would be removed.)")


def _send(release: LocalRelease, kind: ItemKind, client: HubClient, wishes: _Wishes) -> None:
    found = _compare(release, kind, client)
    if found.none and not wishes.again:
        wishes.say("Unchanged; nothing to do.")
        _print_json(release, kind, found, published=False, wishes=wishes)
        return
    with reporting(quiet=wishes.as_json) as report:
        report("Sending the files…")
        published = client.publish(release.name, kind.value, release.files, report)
    wishes.say(f"Published {len(release.files)} files to hub.")
    if not published.warmed and not wishes.no_warm:
        wishes.say("Warming uv cache...")
        ready = client.warm_cache().ready
        wishes.say(f"Warmed {len(ready)} notebooks: {', '.join(ready)}")
    _print_json(release, kind, found, published=True, wishes=wishes)


def _print_json(
    release: LocalRelease,
    kind: ItemKind,
    found: Changes | None,
    *,
    published: bool,
    wishes: _Wishes,
) -> None:
    if not wishes.as_json:
        return
    answer: dict[str, object] = {
        "name": release.name,
        "type": kind.value,
        "files": [file.name for file in release.files],
        "left_out": list(release.left_out),
        "published": published,
    }
    if found is not None:
        answer["new"], answer["changed"] = found.new, found.changed
        answer["unchanged"], answer["removed"] = found.unchanged, found.removed
    click.echo(json.dumps(answer, ensure_ascii=False))
