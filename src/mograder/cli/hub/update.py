"""``mograder hub update``: bring a new release into copies that students have, or undo it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

import click

from mograder.cli.shared.console import plain
from mograder.cli.shared.output import reporting
from mograder.cli.shared.remote import Address, hub_address_options
from mograder.cli.shared.result import Result, json_option, tell, wants_json
from mograder.clients import hub_course
from mograder.clients.hub import HubClient
from mograder.clients.hub_course import Undone, UpdateLine, UpdateStatus
from mograder.core.errors import Conflict
from mograder.core.name_lookup import Words, find_name

_SHOWN = 40


@click.command("update")
@click.argument("item")
@click.option("--preview", is_flag=True, help="Tell what it would do to each copy, and stop.")
@click.option("--undo", is_flag=True, help="Withdraw the update, and put the texts back.")
@click.option("--yes", is_flag=True, help="Offer it without a question.")
@hub_address_options
@json_option
def update(*, item: str, preview: bool, undo: bool, yes: bool, address: Address) -> Result:
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
    only_preview = preview or (wants_json() and not yes)  # a script is not asked
    with address.client() as client:
        item = find_name(item, tuple(hub_course.items(client)), Words(where="on the hub"))
        if undo:
            return _undo(client, item)
        return _update(client, item, only_preview=only_preview, yes=yes)


def _update(client: HubClient, item: str, *, only_preview: bool, yes: bool) -> Result:
    """Preview the update, then offer it if that is wanted; the status says if all copies merge."""
    with reporting() as report:
        found = hub_course.preview(client, item, report)
    copies = found.preview.copies if found.preview else ()
    complete = found.preview is not None and found.preview.state == "done"
    for line in _preview_lines(copies, complete=complete):
        tell(line)
    wanted = complete and not only_preview and not found.offered
    lines: Iterable[str] = ()
    if wanted and (yes or _agrees()):
        found = hub_course.offer(client, item)
        lines = ["Offered. Each copy gets it when its student opens it next."]
    elif found.offered:
        lines = _offer_lines(found)
    failed = not complete or any(line.reason for line in copies)
    return Result(found.model_dump(mode="json"), lines, int(failed))


def _agrees() -> bool:
    """Ask whether to offer the update. Raises: Conflict if no person can be asked."""
    try:
        return click.confirm("Offer the update to these copies?", err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        told = "Nothing was offered, since there is nobody to ask."
        raise Conflict(told, hint="Run it again with --yes.") from None


def _undo(client: HubClient, item: str) -> Result:
    with reporting() as report:
        done = hub_course.undo(client, item, report)
    return Result(done.model_dump(mode="json"), _undone_lines(done), int(bool(done.failed)))


def _preview_lines(lines: Sequence[UpdateLine], *, complete: bool) -> Iterator[str]:
    refused = [line for line in lines if line.reason]
    conflicts = [line for line in lines if line.conflicts]
    nothing = sum(not (line.changed or line.reason or line.conflicts) for line in lines)
    clean = len(lines) - len(refused) - len(conflicts) - nothing
    yield (
        f"{len(lines)} {'copy' if len(lines) == 1 else 'copies'}: {clean} merge cleanly, "
        f"{len(conflicts)} with conflicts, {len(refused)} cannot be merged, "
        f"{nothing} with no cell to change."
    )
    for line in conflicts[:_SHOWN]:
        plural = "" if line.conflicts == 1 else "s"
        yield f"  {plain(line.student)}: {line.conflicts} conflict{plural}"
    for line in refused[:_SHOWN]:
        yield f"  {plain(line.student)}: {plain(line.reason)}"
    if not complete:
        yield "The preview was broken off or cancelled."


def _offer_lines(found: UpdateStatus) -> Iterator[str]:
    merged = sum(each.state == "merged" for each in found.copies)
    yield f"This release is offered already. {merged} copies have it."
    for each in found.copies:
        if each.state == "refused":
            yield f"  {plain(each.student)}: could not be merged: {plain(each.reason)}"


def _undone_lines(done: Undone) -> Iterator[str]:
    yield f"Withdrawn. {len(done.undone)} copies have the text from before again."
    if done.kept:
        yield f"Edited since, left as they are: {plain(', '.join(done.kept))}"
    if done.waiting:
        yield (f"Open at the moment, follow at their next start: {plain(', '.join(done.waiting))}")
    for student, reason in done.failed.items():
        yield f"  {plain(student)}: {plain(reason)}"
