"""``mograder hub update``: bring a new release into copies that students have, or undo it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mograder.cli.shared.console import print_json
from mograder.cli.shared.formatting import plain
from mograder.cli.shared.options import json_option
from mograder.cli.shared.output import reporting
from mograder.cli.shared.remote import Address, hub_address_options
from mograder.clients import hub_course, hub_updates
from mograder.clients.hub import HubClient
from mograder.clients.hub_updates import Undone, UpdateLine, UpdateStatus
from mograder.core.name_lookup import Words, find_name

_SHOWN = 40


@click.command("update")
@click.argument("item")
@click.option("--preview", is_flag=True, help="Tell what it would do to each copy, and stop.")
@click.option("--undo", is_flag=True, help="Withdraw the update, and put the texts back.")
@click.option("--yes", is_flag=True, help="Offer it without a question.")
@hub_address_options
@json_option
def update(
    *, item: str, preview: bool, undo: bool, yes: bool, address: Address, as_json: bool
) -> None:
    """Bring a new release into the copies that students have.

    ITEM is the name of a published assignment, or a unique part of it. The hub first merges its
    release into every copy to look at the results: students' answers stay, the author's cells that
    they left alone are replaced, new cells and checks come in, removed ones go. Then it asks
    whether to offer the update. Each copy gets it when its student opens it next, or takes it in
    the editor; a notebook that is open is never changed.

    With --json nothing is asked, and nothing offered without --yes.

    --undo gives each copy its text from before, unless it was edited since. It ends with 1 if a
    copy cannot be merged, or could not be put back.
    """
    if preview and undo:
        raise click.UsageError("Give one of --preview and --undo.")
    only_preview = preview or (as_json and not yes)  # a script is not asked
    with address.client() as client:
        item = find_name(item, tuple(hub_course.items(client)), Words(where="on the hub"))
        ok = (
            _undo(client, item, as_json=as_json)
            if undo
            else _update(client, item, only_preview=only_preview, yes=yes, as_json=as_json)
        )
    if not ok:
        click.get_current_context().exit(1)


def _update(client: HubClient, item: str, *, only_preview: bool, yes: bool, as_json: bool) -> bool:
    """Preview the update, then offer it if that is wanted; return whether all copies merge."""
    with reporting(quiet=as_json) as report:
        found = hub_updates.preview(client, item, report)
    lines = found.preview.copies if found.preview else ()
    complete = found.preview is not None and found.preview.state == "done"
    if not as_json:
        _tell_preview(lines, complete=complete)
    wanted = complete and not only_preview and not found.offered
    if wanted and (yes or click.confirm("Offer the update to these copies?", err=True)):
        found = hub_updates.offer(client, item)
        if not as_json:
            click.echo("Offered. Each copy gets it when its student opens it next.")
    elif found.offered and not as_json:
        _tell_offer(found)
    if as_json:
        print_json(found.model_dump(mode="json"))
    return complete and not any(line.reason for line in lines)


def _undo(client: HubClient, item: str, *, as_json: bool) -> bool:
    with reporting(quiet=as_json) as report:
        done = hub_updates.undo(client, item, report)
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        _tell_undone(done)
    return not done.failed


def _tell_preview(lines: Sequence[UpdateLine], *, complete: bool) -> None:
    refused = [line for line in lines if line.reason]
    conflicts = [line for line in lines if line.conflicts]
    nothing = sum(not line.changed and not line.reason for line in lines)
    clean = len(lines) - len(refused) - len(conflicts) - nothing
    click.echo(
        f"{len(lines)} copies: {clean} merge cleanly, {len(conflicts)} with conflicts, "
        f"{len(refused)} cannot be merged, {nothing} need nothing."
    )
    for line in conflicts[:_SHOWN]:
        plural = "" if line.conflicts == 1 else "s"
        click.echo(f"  {plain(line.student)}: {line.conflicts} conflict{plural}")
    for line in refused[:_SHOWN]:
        click.echo(f"  {plain(line.student)}: {plain(line.reason)}")
    if not complete:
        click.echo("The preview was broken off or cancelled.")


def _tell_offer(found: UpdateStatus) -> None:
    merged = sum(each.state == "merged" for each in found.copies)
    click.echo(f"This release is offered already. {merged} copies have it.")
    for each in found.copies:
        if each.state == "refused":
            click.echo(f"  {plain(each.student)}: could not be merged: {plain(each.reason)}")


def _tell_undone(done: Undone) -> None:
    click.echo(f"Withdrawn. {len(done.undone)} copies have the text from before again.")
    if done.kept:
        click.echo(f"Edited since, left as they are: {plain(', '.join(done.kept))}")
    if done.waiting:
        click.echo(
            f"Open at the moment, follow at their next start: {plain(', '.join(done.waiting))}"
        )
    for student, reason in done.failed.items():
        click.echo(f"  {plain(student)}: {plain(reason)}")
