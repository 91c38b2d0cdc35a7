"""Checks of a course: its databases, access list, secrets, environments, sources and versions."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mograder.auth.identity import trusted_peers
from mograder.core.errors import MograderError
from mograder.core.name_lookup import counted, misnamed
from mograder.core.names import LOST_AND_FOUND, ItemName, Username
from mograder.core.settings import FILE_NAME, LoadedSettings
from mograder.operations.gradebook_checks import gradebook_lines
from mograder.operations.pruning import needed_here
from mograder.operations.report import Line, note, ok, problem
from mograder.sandbox.environments.pruning import finished_environments, unneeded_environments
from mograder.sandbox.environments.record import read_record
from mograder.store.course.allowlist import parse_users, useless_names
from mograder.store.course.sources import SENT
from mograder.store.database.database import database_url, open_engine, sqlite_file
from mograder.store.database.sqlite_files import sqlite_damage
from mograder.store.database.upgrades import awaits_upgrade
from mograder.store.filesystem.files import entry_named
from mograder.store.hub.active_hub import demand_moved, left_behind
from mograder.store.hub.hub_state import existing_state
from mograder.store.releases.published_release import refused_names
from mograder.store.versions.version_texts import survey

USERS = "allowed_users.txt"
SECRET_FILE = Path("/etc/mograder/hub-secret")
"""The file in which a deployment stores the hub's secret (B11)."""

_ENVIRONMENT_FILE = Path("/etc/mograder/env")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_USERS = 10_000_000
_WIDEST_V4, _WIDEST_V6 = 16, 48
"""Prefix lengths of a campus network: a shorter prefix is unlikely to be that of a front."""

_LOOK_SECONDS = 10.0
"""Most seconds for checking a database for damage."""

_SAMPLE, _SAMPLE_SECONDS = 500, 5.0
"""Most versions to read back, and most seconds for that."""

_SHOWN = 3


def database_line(loaded: LoadedSettings) -> Line:
    """Check the hub's database."""
    url = database_url(loaded.settings.database.url, loaded.course_dir)
    file = sqlite_file(url)
    # Do not create the database here: it would have the wrong owner.
    own = loaded.state_dir / "hub.db"
    if file is not None and not file.exists():
        if own.exists():
            raise left_behind(own, url)
        return ok("database", "database: new, made at the hub's first start")
    engine = open_engine(url)
    try:
        demand_moved(engine, own)
        awaits = awaits_upgrade(engine)
    finally:
        engine.dispose()
    text = "database: opens" + (", upgraded at the hub's start" if awaits else "")
    return ok("database", text) if file is None else _integrity("database", file, text)


def marks_lines(loaded: LoadedSettings) -> Iterator[Line]:
    """Check the gradebook if it exists. Raises: :class:`MograderError` if it does not open."""
    marks = loaded.gradebook_path
    if marks.is_file():
        yield _integrity("gradebook", marks, f"gradebook: {marks.name} is whole")
        if not os.access(marks, os.W_OK):
            hint = "Run the check as the hub's user, or give that user the file."
            yield problem("gradebook", f"gradebook: {marks} cannot be written by this user", hint)
        yield from gradebook_lines(loaded)


def _integrity(check: str, file: Path, whole: str) -> Line:
    """Check an SQLite file for damaged pages, for ``_LOOK_SECONDS`` at most."""
    found = sqlite_damage(file, _LOOK_SECONDS)
    if found is None:
        return ok(check, f"{whole}; no damage found in the first {_LOOK_SECONDS:.0f} seconds")
    if not found:
        return ok(check, whole)
    text = f"{check}: {file} is damaged: {'; '.join(found[:_SHOWN])}"
    hint = "Stop the hub, keep a copy of the file, and put it back from the newest backup."
    return problem(check, text, hint)


def users_line(loaded: LoadedSettings, *, members: bool = False) -> Line:
    """Report the access list as the hub would read it (B37-B44)."""
    path = loaded.course_dir / USERS
    only = "only the members of a learning platform's course may enter" if members else ""
    none = only or "no student may enter"
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_USERS)
    except FileNotFoundError:
        if path.is_symlink():
            return problem("users", f"{path.name} is a link to nothing: {none}")
        return note("users", f"no {path.name}: {only or 'everybody who signs in may enter'}")
    except OSError as error:
        text = f"{path.name} cannot be read ({error.strerror}): {none}"
        return problem("users", text, "Let the hub's user read it.")
    users = parse_users(content.decode("utf-8-sig", "replace"))
    if not users:
        staff = "only instructors and markers may enter"
        return note("users", f"{path.name} is empty: {only or staff}")
    if useless := useless_names(users):
        more = f", and so do {len(useless) - 1} more" if useless[1:] else ""
        text = f"{path.name}: {useless[0]} lets nobody in, since nobody can have this name{more}"
        hint = "Write one name a line, as it is at the sign-in, and save the file as UTF-8."
        return problem("users", text, hint)
    told = f"{path.name}: {len(users)} users"
    if members:
        told += " may enter besides the members of a learning platform's course"
        return note("users", told)
    return ok("users", told)


def folder_lines(loaded: LoadedSettings) -> Iterator[Line]:
    """Report students' folders with names of 0.3.16's that no account can have here."""
    place = loaded.path(loaded.settings.hub.notebooks_dir)
    found = sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
    people = (name for name in found if not name.startswith((".", "__", LOST_AND_FOUND)))
    if names := useless_names(people):
        text = f"{place.name}: nobody can sign in as {_listed(names)} and find the work there"
        hint = f"Rename the folder; a username has only {Username.alphabet}. Give a new token."
        yield note("folders", text, hint)


def proxies_line(loaded: LoadedSettings) -> Line:
    """Report from which addresses the header with the user's name counts."""
    hub, sandboxed = loaded.settings.hub, loaded.settings.security.use_bubblewrap is not False
    peers = trusted_peers(hub.trusted_proxies, sandboxed=sandboxed)
    # The whole internet, or a public network that is larger than a campus network.
    bounds = {4: _WIDEST_V4, 6: _WIDEST_V6}
    wide = [
        str(each)
        for each in peers
        if each.prefixlen < (1 if each.is_private else bounds[each.version])
    ]
    loopback = any(each.is_loopback for each in peers)
    if wide:
        text = f"trusted_proxies: {', '.join(wide)} may name any user in {hub.trusted_header}"
        return problem("proxies", text, "List the addresses of your own fronts only.")
    if loopback and not sandboxed:
        text = "trusted_proxies: without a sandbox student code on this machine may name any user"
        hint = (
            "Run sessions in a sandbox, or put the front on another machine and list its address."
        )
        return problem("proxies", text, hint)
    listed = ", ".join(map(str, peers)) or "nobody"
    return ok("proxies", f"trusted_proxies: {listed}")


def secret_lines(
    loaded: LoadedSettings, *, kept: tuple[Path, ...] = (SECRET_FILE, _ENVIRONMENT_FILE)
) -> Iterator[Line]:
    """Yield a line for every file with a secret that users other than its owner may read."""
    state = [loaded.state_dir / name for name in ("hub.db", "grading-secret")]
    private = [*kept, loaded.course_dir / ".mograder-secret", *state]
    token = loaded.settings.https.token.get_secret_value()
    if token or "@" in loaded.settings.database.url:  # which has the server's password
        private.append(loaded.course_dir / FILE_NAME)
    oidc, mail = loaded.settings.oidc, loaded.settings.mail
    # The hub may read these by its group.
    named = [loaded.path(file) for file in (oidc.client_secret_file, mail.password_file) if file]
    open_ones = [path for path in private if _is_open(path, _OTHERS)]
    open_ones += [path for path in named if _is_open(path, stat.S_IRWXO)]
    for path in open_ones:
        text = f"{path} can be read by other users of this machine"
        yield problem("secret-file", text, f"chmod {'o=' if path in named else '600'} {path}")
    if not open_ones:
        yield ok("secret-file", "files with secrets: for their owner only")


def _is_open(path: Path, to: int) -> bool:
    try:
        return bool(path.stat().st_mode & to)
    except OSError:
        return False


async def environment_lines(loaded: LoadedSettings) -> tuple[Line, ...]:
    """Report environments that can no longer run, and the disk space of unneeded ones."""
    root = loaded.path(loaded.settings.hub.environments_dir)
    built = finished_environments(root)
    if not built:
        return (ok("environments", "environments: none yet"),)
    broken = [path for path in built if not _runs(path)]
    lines = []
    if broken:
        text = f"environments: the Python of {_listed([path.name for path in broken])} is gone"
        hint = "They are built again at their next use; mograder hub prune removes the others."
        lines.append(note("environments", text, hint))
    needed = await needed_here(loaded)
    if needed is not None:
        unneeded = await asyncio.to_thread(unneeded_environments, root, needed)
        if unneeded:
            size = sum(each.size for each in unneeded) / 1_000_000
            text = f"environments: {len(unneeded)} of {len(built)} belong to no published item"
            hint = f"Those that no session uses can go: mograder hub prune (up to {size:.0f} MB)"
            lines.append(note("environments", text, hint))
    return tuple(lines) or (ok("environments", f"environments: {len(built)}, all in use"),)


def _runs(environment: Path) -> bool:
    try:
        read_record(environment)
    except MograderError:
        return False
    return os.access(environment / "env" / "bin" / "python", os.X_OK)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def source_line(loaded: LoadedSettings) -> Line:
    """Report submissions of items whose source the hub does not have."""
    submitted = loaded.path(loaded.settings.dirs.submitted)
    names = [path.name for path in submitted.iterdir()] if submitted.is_dir() else []
    items = sorted(item for name in names if (item := ItemName.valid(name)) is not None)
    waiting = [item for item in items if any((submitted / item).glob("*.py"))]
    places = (loaded.path(loaded.settings.dirs.source), loaded.state_dir / SENT)
    missing = [
        item
        for item in waiting
        if not any(entry_named(entry_named(at, item), f"{item}.py").is_file() for at in places)
    ]
    if not missing:
        return ok("sources", f"sources: there for {counted(len(waiting), 'item')} with submissions")
    text = f"sources: none for {_listed(missing)}, which have submissions"
    hint = "Their marks would be unprotected. Send it: mograder hub publish, or the item's page."
    return note("sources", text, hint)


def settings_lines(loaded: LoadedSettings) -> tuple[Line, ...]:
    """Report tables of items that no item has for its name, where one must be meant."""
    dirs = loaded.settings.dirs
    places = [loaded.path(each) for each in (dirs.source, loaded.settings.hub.release_dir)]
    names = {entry.name for each in places if each.is_dir() for entry in each.iterdir()}
    return tuple(
        note("items", f'{FILE_NAME}: [items."{name}"] is for no item', f'Write [items."{meant}"].')
        for name, meant in misnamed(loaded.settings.items, sorted(filter(ItemName.valid, names)))
    )


def zone_line(loaded: LoadedSettings) -> Line | None:
    """Advise to set the zone of a course with deductions on a machine whose clocks change."""
    settings = loaded.settings
    rules = (each.penalties for each in settings.items.values())
    deducts = settings.penalties.enabled or any(each.enabled for each in rules if each)
    offsets = {datetime(2026, month, 1, tzinfo=UTC).astimezone().utcoffset() for month in (1, 7)}
    if settings.timezone or not deducts or len(offsets) == 1:
        return None
    text = f"{FILE_NAME}: without timezone a day late has 24 hours, also where clocks change"
    return note("timezone", text, 'Write the zone of your dates: timezone = "Europe/London"')


def release_lines(loaded: LoadedSettings) -> Iterator[Line]:
    """Report the names of published items and files for which students do not get them."""
    place = loaded.path(loaded.settings.hub.release_dir)
    found, remedy = tuple(refused_names(place)), "Students do not get it. Rename it, and publish."
    for sentence in found[:_SHOWN]:
        yield note("items", f"{place.name}: {sentence}", remedy)
    if len(found) > _SHOWN:
        more = counted(len(found) - _SHOWN, "more name")
        yield note("items", f"{place.name}: {more} that keep something from students", remedy)


def version_lines(loaded: LoadedSettings) -> tuple[Line, ...]:
    """Return how many versions there are, and which of a sample cannot be read back.

    A database that is not there yet, or does not open, has a line of its own, so none here.
    """
    try:
        with existing_state(loaded) as state:
            found = survey(state.engine, _SAMPLE, _SAMPLE_SECONDS) if state else None
    except MograderError:
        return ()
    if found is None:
        return ()
    text = (
        f"versions: {found.versions} of {found.copies} copies, {found.bytes / 1e6:.1f} MB; "
        f"{found.looked} read back"
    )
    if not found.damaged:
        return (ok("versions", text),)
    listed = ", ".join(f"{each.user}/{each.item}" for each in found.damaged[:_SHOWN])
    hint = (
        "What is saved from now on is recorded whole. The earlier versions are in a backup from "
        "before the damage; look at the disk, too."
    )
    return (problem("versions", f"{text}, {len(found.damaged)} damaged: {listed}", hint),)
