"""Have a hub work on its items: bring a release into students' copies, rehearse, and warm up.

``mograder hub update`` offers a new release to the copies that students have, or undoes that;
``rehearse`` tells beforehand how a lecture will go; ``warm`` prepares items before students come
(B100-B104).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click

from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import load_course
from mograder.cli.shared.lazy import server_part
from mograder.cli.shared.options import PATH, course_dir_option, timezone_option, verbose_option
from mograder.cli.shared.output import counting, reporting
from mograder.cli.shared.remote import Address, hub_address_options
from mograder.cli.shared.result import Result, aligned, json_option, tell, wants_json
from mograder.clients import hub_course
from mograder.clients.hub import HubClient
from mograder.clients.hub_course import Rehearsed, Undone, UpdateLine
from mograder.core.errors import Conflict
from mograder.core.item_dates import read_opening
from mograder.core.name_lookup import Words, counted, find_name, find_or_new
from mograder.core.operating_system import SYSTEM
from mograder.publishing.schedule import parse_zone

_SHOWN = 40
_MOST_STUDENTS = 1000
_MOST_SECONDS = 3600
_MOMENT = "%a %d %b %Y, %H:%M %Z"


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
            with reporting() as report:
                done = hub_course.undo(client, item, report)
            failed = int(bool(done.failed))
            return Result(done.model_dump(mode="json"), _undone_lines(done), failed)
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
    if wanted and found.preview and (yes or _agrees()):
        found = hub_course.offer(client, item, found.preview.release)
        lines = ["Offered. Each copy gets it when its student opens it next."]
    elif found.offered:
        merged = sum(each.state == "merged" for each in found.copies)
        have = counted(merged, "copy has", "copies have")
        lines = [
            f"This release is offered already. {have} it.",
            *(
                f"  {plain(each.student)}: could not be merged: {plain(each.reason)}"
                for each in found.copies
                if each.state == "refused"
            ),
        ]
    failed = not complete or any(line.reason for line in copies)
    return Result(found.model_dump(mode="json"), lines, int(failed))


def _agrees() -> bool:
    try:
        return click.confirm("Offer the update to these copies?", err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        told = "Nothing was offered, since there is nobody to ask."
        raise Conflict(told, hint="Run it again with --yes.") from None


def _preview_lines(lines: Sequence[UpdateLine], *, complete: bool) -> Iterator[str]:
    refused = [line for line in lines if line.reason]
    conflicts = [line for line in lines if line.conflicts]
    nothing = sum(not (line.changed or line.reason or line.conflicts) for line in lines)
    clean = len(lines) - len(refused) - len(conflicts) - nothing
    yield (
        f"{counted(len(lines), 'copy', 'copies')}: {clean} merge cleanly, "
        f"{len(conflicts)} with conflicts, {len(refused)} cannot be merged, "
        f"{nothing} with no cell to change."
    )
    for line in conflicts[:_SHOWN]:
        yield f"  {plain(line.student)}: {counted(line.conflicts, 'conflict')}"
    for line in refused[:_SHOWN]:
        yield f"  {plain(line.student)}: {plain(line.reason)}"
    if not complete:
        yield "The preview was broken off or cancelled."


def _undone_lines(done: Undone) -> Iterator[str]:
    have = counted(len(done.undone), "copy has", "copies have")
    yield f"Withdrawn. {have} the text from before again."
    if done.kept:
        yield f"Edited since, left as they are: {plain(', '.join(done.kept))}"
    if done.waiting:
        yield (f"Open at the moment, follow at their next start: {plain(', '.join(done.waiting))}")
    for student, reason in done.failed.items():
        yield f"  {plain(student)}: {plain(reason)}"


@click.command("rehearse")
@click.argument("item")
@click.option(
    "--students",
    type=click.IntRange(1, _MOST_STUDENTS),
    default=30,
    show_default=True,
    help="How many open the item.",
)
@click.option(
    "--within",
    type=click.FloatRange(0, _MOST_SECONDS),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="They come one after the other, all within this time.",
)
@click.option("--cancel", is_flag=True, help="End the rehearsal that runs, and do nothing else.")
@hub_address_options
@json_option
def rehearse(
    item: str,
    *,
    students: int,
    within: float,
    cancel: bool,
    address: Address,
) -> Result:
    """See beforehand how a lecture will go on a hub.

    Throw-away users open ITEM. Their sessions are real: each starts in its sandbox and runs all
    cells of the release. The hub may be in use: students come first, and what the rehearsal made is
    removed at its end. It ends with 1 unless all of them have run all cells.
    """
    with address.client() as client:
        if cancel:
            done = hub_course.cancel(client, item)
            told = "The rehearsal was cancelled." if done else "No rehearsal runs."
            return Result({"cancelled": done}, [told])
        (item,) = _named(client, [item])
        expected = hub_course.plan(client, item, students, within)
        tell(
            f"{item}: {students} students within {within:g} s. This takes about "
            f"{_span(expected.seconds)}. {_size(expected.memory_used)} of "
            f"{_size(expected.memory_total)} are in use; with about {_size(expected.memory_each)} "
            f"each, {expected.fits} of {students} fit."
        )
        result = _rehearsed(client, item, students, within)
    failed = result.finished < result.students
    return Result(result.model_dump(mode="json"), _rehearsal_lines(result), int(failed))


def _named(client: HubClient, typed: Sequence[str]) -> list[str]:
    """Return the published items, demos among them, that names mean; raises NotFound."""
    known = tuple(hub_course.all_items(client))
    words = Words("item", "on the hub", "It has no items.")
    return [find_name(name, known, words) for name in typed]


def _rehearsed(client: HubClient, item: str, students: int, within: float) -> Rehearsed:
    with counting(students, f"Rehearsing {item}") as advance:
        over = 0

        def note(line: Mapping[str, object]) -> None:
            nonlocal over
            now = line.get("over")
            while isinstance(now, int) and over < min(now, students):
                over += 1
                advance()

        try:
            return hub_course.rehearse(client, item, students, within, note)
        except KeyboardInterrupt:
            hub_course.cancel(client, item)
            click.echo("Cancelled; everything that the rehearsal made is removed.", err=True)
            raise


def _rehearsal_lines(result: Rehearsed) -> list[str]:
    ran = f"{result.finished} of {result.students} ran all cells, {result.warm} started warm"
    lines = [f"{ran}; it took {_span(result.seconds)}."]
    named = {
        "until the session answers": result.started,
        "until the first output": result.first_output,
        "until the last cell": result.all_cells,
    }
    rows = []
    for name, times in named.items():
        if times:
            most = f"95 % within {times.p95:.1f} s, worst {times.worst:.1f} s"
            rows.append((name, f"median {times.median:.1f} s, {most}"))
    if result.memory_each:
        memory = (
            f"{_size(result.memory_each)} each (largest {_size(result.memory_largest)}), "
            f"{_size(result.memory_together)} together"
        )
        holds = (
            f"{result.holds} such sessions in {_size(result.memory_total)}; "
            f"{result.holds_now} beside what runs now"
        )
        rows += [("memory", memory), ("the machine can hold", holds)]
    lines += aligned(rows, indent="  ")
    if result.wait:
        lines.append(f"  {result.wait} would wait in line, until others leave.")
    if result.gave_way:
        lines.append(f"  {result.gave_way} gave way to students: rehearse when fewer are working.")
    if result.errors:
        lines.append(f"  {result.errors} cells end with an error in a fresh copy.")
    lines += [f"  {count} failed: {reason}" for reason, count in result.failures.items()]
    return lines


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _size(count: int) -> str:
    megabytes = count / 2**20
    return f"{megabytes:.0f} MB" if megabytes < 1024 else f"{megabytes / 1024:.1f} GB"


@click.command("warm")
@click.argument("items", nargs=-1)
@click.option("--at", metavar="TIME", help="Not now, but from some minutes before this time.")
@click.option("--forget", is_flag=True, help="Remove the times that were set for ITEMS.")
@timezone_option
@hub_address_options
@json_option
def warm(
    items: tuple[str, ...],
    *,
    at: str | None,
    forget: bool,
    timezone: str | None,
    address: Address,
) -> Result:
    """Have a hub prepare items, so that their notebooks open at once.

    Their packages are installed, and a process is started from which sessions are forked. A hub
    does so by itself before an item opens, [hub] warm_minutes before; --at is for a lecture on an
    item that students see already. Without ITEMS it lists the times that were set. It ends with 1
    if an item could not be prepared.
    """
    if at is not None and forget:
        raise click.UsageError("Give one of --at and --forget.")
    if (at is not None or forget) and not items:
        raise click.UsageError("Name the items.")
    timezone = timezone or load_course().settings.timezone
    zone = parse_zone(timezone) if timezone else None
    moment = None if at is None else read_opening(at, zone)
    with address.client() as client:
        if not items:
            answer = hub_course.warm_times(client)
        elif forget:  # also of an item that is not published any more
            known = tuple(hub_course.all_items(client))
            names = [find_or_new(name, known) for name in items]
            answer = hub_course.set_warm_time(client, names, None)
        elif moment is not None:
            answer = hub_course.set_warm_time(client, _named(client, items), moment)
        else:
            names = _named(client, items)
            with reporting() as report:
                answer = hub_course.warm(client, names, report)
    told = answer.model_dump(mode="json")
    lines = [f"  {name}: ready" for name in answer.warmed]
    lines += [f"  {name}\n    failed: {error}" for name, error in answer.failed.items()]
    for name, moments in answer.planned.items():
        shown = "; ".join(f"{each.astimezone(zone):{_MOMENT}}" for each in moments)
        lines.append(f"  {name}: {shown}")
    return Result(told, lines or ["No times are set."], int(bool(answer.failed)))


@click.command("warm-cache")
@click.argument("notebooks", nargs=-1, type=PATH)
@click.option("--all", "every", is_flag=True, help="All notebooks that are published here.")
@click.option("--dry-run", is_flag=True, help="Show the dependencies only.")
@hub_address_options
@json_option
@verbose_option
@course_dir_option
def warm_cache(
    *, notebooks: tuple[Path, ...], every: bool, dry_run: bool, address: Address
) -> Result:
    """Prepare the environments of notebooks.

    NOTEBOOKS are prepared on this machine, for the hub of this course. With --url or --ssh the
    hub there prepares all that is published on it. On a server --all is for this one, whatever
    MOGRADER_HUB_URL names. It ends with 1 if one could not be prepared.
    """
    local = bool(notebooks) or dry_run
    if address.given and local:
        raise click.UsageError("A hub warms all that it holds: give no notebooks and no --dry-run.")
    if address.given or (address.known and not (local or (every and SYSTEM == "linux"))):
        with address.client() as client, reporting() as report:
            warmed = hub_course.warm_cache(client, report)
        lines = [f"Warmed {len(warmed.warmed)} notebooks: {', '.join(warmed.warmed)}"]
        for name, error in warmed.failed.items():
            lines += [f"  {name}", f"    failed: {error}"]
        told = {"warmed": list(warmed.warmed), "failed": warmed.failed}
        return Result(told, lines, int(bool(warmed.failed)))
    warm_here = server_part("mograder.cli.hub.warm_cache:warm_here", " without --url or --ssh")
    done: Result = warm_here(notebooks, every=every, dry_run=dry_run)
    return done
