"""``mograder hub publish``: send a release to a hub and follow the build of its environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shlex import quote

import click

from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import verbose_option
from mograder.cli.shared.output import reporting
from mograder.cli.shared.remote import Address, hub_address_options
from mograder.cli.shared.result import Result, json_option, tell
from mograder.clients import hub_course
from mograder.clients.hub import HubClient
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.name_lookup import counted
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings, Origin
from mograder.notebook.pep723 import ItemKind
from mograder.publishing.local_release import (
    Changes,
    Differences,
    LocalRelease,
    changes,
    compare,
    digests,
    find_release,
    local_digests,
    read_release,
    read_source,
    remote_digests,
)
from mograder.store.filesystem.files import entry_named

_NO_MOODLE = """\
No Moodle URL configured, so the release cannot be compared with what Moodle hands out.
Nothing was sent. Use --force to publish without comparing with Moodle, or set [moodle] url in
mograder.toml or MOGRADER_MOODLE_URL. (--url is the hub's address.)"""


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
    default="",
    help="Moodle assignment name, for the verification.  [default: as ASSIGNMENT]",
)
@click.option("--no-source", is_flag=True, help="Do not send the assignment's source.")
@click.option("--no-warm", is_flag=True, help="Do not ask a hub of 0.3.16 to warm its cache.")
@json_option
@verbose_option
@course_option
def publish(  # noqa: PLR0913  # one argument per option
    *,
    assignment: str,
    address: Address,
    force: bool,
    lecture: bool,
    demo: bool,
    dry_run: bool,
    again: bool,
    moodle_assignment: str,
    no_source: bool,
    no_warm: bool,
    loaded: LoadedSettings,
) -> Result:
    """Publish an assignment or a lecture to a hub.

    In a course on Moodle, an assignment is first compared with what Moodle hands out, unless
    --force is given; the address and your sign-in are those of `mograder moodle`.

    ASSIGNMENT is a released item's name, a unique part of it, or a directory. The notebook, the
    files and folders beside it are sent; hidden files and what exports leave beside it (.html,
    .zip) are not, and whatever stays behind is named. The old release stays until the hub has
    checked the new one and built its environment. Where the hub holds exactly this already,
    nothing is sent.

    The source of an assignment, where it is here, is sent as well: the hub grades submissions with
    it, and gives it to nobody. --no-source keeps it here.
    """
    if lecture and demo:
        raise click.UsageError("An item is a lecture or a demo, not both.")
    stated = ItemKind.LECTURE if lecture else ItemKind.DEMO if demo else None
    release = _find(assignment, loaded)
    kind = stated or release.detected or ItemKind.ASSIGNMENT
    _announce(release, kind, detected=stated is None)
    if kind is ItemKind.ASSIGNMENT and not force:
        _demand_same_on_moodle(release, loaded, moodle_assignment)
    source = None
    if kind is ItemKind.ASSIGNMENT and not no_source:
        source = find_source(release.name, loaded.path(loaded.settings.dirs.source))
    done = _Done()
    # A dry run without a hub has printed the files already.
    if not dry_run or address.complete:
        with address.client() as client:
            found = _compare(release, kind, client)
            published = not dry_run and (again or not found.none)
            if published:
                _send(release, kind, client, warm=not no_warm)
            sent = send_source(source, client, dry_run=dry_run) if source else SourceSent.NONE
        done = _Done(found, published, sent)
    return Result(_as_json(release, kind, done), _conclusion(done, kind, dry_run=dry_run))


class SourceSent(StrEnum):
    """The outcome of sending a source; the values are those of ``--json``."""

    NONE = "none"
    """There is no source here, or it is not to be sent."""
    NOT_TAKEN = "not taken"
    """The hub has its own source, or is too old to grade."""
    UNCHANGED = "unchanged"
    CHANGED = "changed"
    """It would be sent, in a dry run."""
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class _Done:
    """The changes that publishing has made, or would make; ``found`` is None without a hub."""

    found: Changes | None = None
    published: bool = False
    sent: SourceSent = SourceSent.NONE


def _find(assignment: str, loaded: LoadedSettings) -> LocalRelease:
    """Find the release and list its files; errors here exit with 1, as in 0.3.16."""
    dirs = loaded.settings.dirs
    try:
        release, source = loaded.path(dirs.release), loaded.path(dirs.source)
        return read_release(find_release(assignment, release, source))
    except (NotFound, InvalidInput) as error:
        raise click.ClickException("\n".join(filter(None, (error.message, error.hint)))) from error


def _announce(release: LocalRelease, kind: ItemKind, *, detected: bool) -> None:
    tell(f"{kind.value.capitalize()}: {release.name}")
    tell(f"Local files: {', '.join(file.name for file in release.files)}")
    if release.left_out:
        tell(f"Left out: {', '.join(map(str, release.left_out))}")
    if release.python:
        tell(f"Python: {release.python}")
    for finding in release.advice:
        click.echo(f"Warning: {finding}", err=True)
    if release.detected is ItemKind.LECTURE and detected:
        tell("Auto-detected lecture from mograder-type metadata.")


def _demand_same_on_moodle(release: LocalRelease, loaded: LoadedSettings, named: str) -> None:
    """Refuse if a file is not as Moodle's attachment (B86, B89; compatibility-0.3.16.md 10).

    ``named`` is the assignment's name on Moodle, "" for the release's.
    """
    # Imported here: courses without Moodle need not load its client.
    from mograder.cli.moodle.site import Site  # noqa: PLC0415

    if not (named or _names_a_moodle(loaded)):
        tell("This course is not on Moodle, so there is nothing to compare.")
        return
    local, site = local_digests(release.files, release.name), Site(loaded)
    try:
        with site.client() as client:
            chosen = site.assignment(client, named or release.name)
            if not (chosen.attachments or local):
                raise NotFound(f"{chosen.name} has no files on Moodle, and there are none here.")
            held = remote_digests(chosen.attachments, client.read, release.name)
    except click.UsageError as error:
        raise click.ClickException(_NO_MOODLE) from error
    except MograderError as error:
        hint = "Use --force to publish without comparing with Moodle."
        told = filter(None, (error.message, error.hint, f"Nothing was sent. {hint}"))
        raise click.ClickException("\n".join(told)) from error
    found = compare(local, held)
    if found.none:
        tell("Moodle verification: OK")
        return
    lines = [f"Moodle verification: FAILED ({chosen.name})", *found.lines()]
    raise click.ClickException("\n".join([*lines, *_remedy(release, found)]))


def _names_a_moodle(loaded: LoadedSettings) -> bool:
    """Return whether anything in the settings is of a Moodle, even if its address is missing."""
    settings = loaded.settings
    if settings.moodle.url:
        return True
    if settings.transport == "https":
        return False
    named = loaded.origins.get("transport", Origin.DEFAULT) is not Origin.DEFAULT
    listed = any(each.id or each.cmid for each in settings.assignments)
    return bool(named or settings.moodle.course_id or listed)


def _remedy(release: LocalRelease, found: Differences) -> list[str]:
    lines = ["Nothing was sent. To fix it:"]
    if found.missing or found.differing:
        lines.append(
            f"  - `mograder moodle upload {quote(release.name)}` puts what is here on Moodle;"
        )
    if found.differing or found.extra:
        lines.append(
            f"  - or bring what Moodle has into {release.directory}, by `mograder generate` or by "
            "`mograder moodle fetch`;"
        )
    if found.extra:
        lines.append("  - or remove on Moodle what is extra;")
    lines.append("  - or --force publishes without comparing.")
    return lines


def _compare(release: LocalRelease, kind: ItemKind, client: HubClient) -> Changes:
    local = digests(release.files)
    held = client.held(release.name, tuple(local))
    held.check(release.size, len(release.files))
    return changes(local, kind.value, held)


def _conclusion(done: _Done, kind: ItemKind, *, dry_run: bool) -> Iterator[str]:
    if dry_run:
        if done.found is not None:
            yield from _changes(done.found, kind)
        yield "Dry run — not publishing."
    elif not done.published:
        is_sent = done.sent is SourceSent.SENT
        yield "The release is unchanged." if is_sent else "Unchanged; nothing to do."


def _changes(found: Changes, kind: ItemKind) -> Iterator[str]:
    if found.none:
        yield "Unchanged: the hub holds exactly this."
        return
    if found.kind_before:
        yield f"  type: {found.kind_before} becomes {kind.value}"
    named = {
        "new": found.new,
        "changed": found.changed,
        "unchanged": found.unchanged,
        "removed": found.removed,
    }
    for word, names in named.items():
        yield from (f"  {word}: {name}" for name in names)
    if not found.exact:
        yield "  (This hub does not tell which of its files would be removed.)"


def _send(release: LocalRelease, kind: ItemKind, client: HubClient, *, warm: bool) -> None:
    """Publish the release; ``warm`` has a hub of 0.3.16 fetch the packages then."""
    with reporting() as report:
        report("Sending the files…")
        published = client.publish(release.name, kind.value, release.files, report)
    # Scripts know the line from 0.3.16.
    tell(f"Published {len(release.files)} files to hub.")
    if published.copies and kind is ItemKind.ASSIGNMENT:
        have = counted(published.copies, "student has", "students have")
        tell(
            f"{have} a copy already. What an update would do to them: "
            f"mograder hub update {quote(release.name)} --preview"
        )
    if not published.warmed and warm:
        tell("Warming uv cache...")
        ready = hub_course.warm_cache(client).warmed
        tell(f"Warmed {len(ready)} notebooks: {', '.join(ready)}")


def _as_json(release: LocalRelease, kind: ItemKind, done: _Done) -> dict[str, object]:
    answer: dict[str, object] = {
        "name": release.name,
        "type": kind.value,
        "files": [file.name for file in release.files],
        "left_out": [each.name for each in release.left_out],
        "left_out_reasons": {each.name: each.reason for each in release.left_out},
        "python": release.python,
        "advice": [str(finding) for finding in release.advice],
        "published": done.published,
        "source": done.sent.value,
    }
    found = done.found
    if found is not None:
        answer["new"], answer["changed"] = found.new, found.changed
        answer["unchanged"], answer["removed"] = found.unchanged, found.removed
        answer["type_before"] = found.kind_before or None
    return answer


def find_source(name: ItemName, source_dir: Path) -> LocalRelease | None:
    directory = entry_named(source_dir, name)
    if not entry_named(directory, f"{name}.py").is_file():
        return None
    return read_source(directory)


def send_source(source: LocalRelease, client: HubClient, *, dry_run: bool) -> SourceSent:
    held = client.held_source(source.name)
    if held is None:
        return SourceSent.NOT_TAKEN
    held.check(source.size, len(source.files), source=True)
    found = changes(digests(source.files), "", held)
    if found.none:
        tell("Source: unchanged.")
        return SourceSent.UNCHANGED
    names = ", ".join(file.name for file in source.files)
    if dry_run:
        tell(f"Source: would be sent ({names}).")
        return SourceSent.CHANGED
    with reporting() as report:
        client.send_source(source.name, source.files, report)
    tell(f"Sent the source, for grading on the hub: {names}")
    return SourceSent.SENT
