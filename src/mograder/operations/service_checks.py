"""Checks of the deployment: systemd's units, the volume, and the user that listens on the port.

They return nothing where systemd does not run, or where its units serve another course.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.operating_system import account_name, listeners
from mograder.core.settings import LoadedSettings
from mograder.operations.report import Line, note, ok, problem
from mograder.processes.programs import ask_systemd

HUB, SOCKET, SESSIONS = "mograder-hub.service", "mograder-hub.socket", "mograder-sessions.service"
BACKUP = "mograder-backup.service"
_UNITS = (HUB, SOCKET, SESSIONS, BACKUP)
_PROPERTIES = (
    *("Id", "LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts"),
    *("Environment", "Listen", "ProtectSystem", "ReadWritePaths"),
)
_COURSE = "MOGRADER_COURSE_DIR="


@dataclass(frozen=True, slots=True)
class Units:
    """Properties of the hub's units by name; empty if systemd does not run this course's hub."""

    found: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def get(self, unit: str, key: str) -> str:
        return self.found.get(unit, {}).get(key, "")

    def listens(self, port: int) -> bool:
        listed = self.get(SOCKET, "Listen").split()
        active = self.get(SOCKET, "ActiveState") == "active"
        return active and any(address.endswith(f":{port}") for address in listed)


def ask_units(loaded: LoadedSettings) -> Units:
    return read_units(ask_systemd(_UNITS, _PROPERTIES), loaded.course_dir)


def read_units(text: str, course: Path) -> Units:
    """Parse the output of ``systemctl show``; empty if the units serve another course."""
    blocks = [dict(_pairs(block)) for block in text.split("\n\n")]
    found = {block["Id"]: block for block in blocks if "Id" in block}
    states = {found.get(unit, {}).get("LoadState", "not-found") for unit in (HUB, SESSIONS)}
    if states == {"not-found"}:
        return Units()
    named = _words(" ".join(found.get(unit, {}).get("Environment", "") for unit in (HUB, SESSIONS)))
    courses = {Path(word.removeprefix(_COURSE)) for word in named if word.startswith(_COURSE)}
    # A masked or empty unit names no course: it is included unless another unit names another.
    if courses and course.resolve() not in {each.resolve() for each in courses}:
        return Units()
    return Units(found)


def _pairs(block: str) -> Iterator[tuple[str, str]]:
    for line in block.splitlines():
        key, sign, value = line.partition("=")
        if sign and (key != "Listen" or value):
            yield key, value


def _words(listed: str) -> list[str]:
    """Return the words of a list; systemd prints those with spaces in double quotes."""
    try:
        return shlex.split(listed)
    except ValueError:  # a value of several lines, of which this is the first
        return listed.split()


def unit_lines(units: Units) -> Iterator[Line]:
    """Yield the hub's units that do not run, with the reason, or a line that all are active."""
    if not units.found:
        return
    wrong = [line for unit in (HUB, SOCKET, SESSIONS) if (line := _unit_line(units, unit))]
    yield from wrong
    if not wrong:
        yield ok("services", f"services: {HUB}, {SOCKET} and {SESSIONS} are active")
    if units.get(BACKUP, "ActiveState") == "failed":
        text = f"services: the last {BACKUP} failed"
        yield problem("services", text, f"Why: journalctl -u {BACKUP} -n 20")


def confined_lines(units: Units, written: Mapping[str, Iterable[Path]]) -> Iterator[Line]:
    """Yield the units that may not write to a directory: systemd mounts it read-only for them.

    ``written`` are the directories by unit. This user may write there all the same, so that the
    checks of directories find nothing.
    """
    for unit, paths in written.items():
        if units.get(unit, "ProtectSystem") != "strict":
            continue
        words = _words(units.get(unit, "ReadWritePaths"))
        allowed = [Path(word.lstrip("-+")).resolve() for word in words]
        closed = {
            str(real)
            for real in (path.resolve() for path in paths)
            if not any(map(real.is_relative_to, allowed))
        }
        if closed:
            # In a unit file a space ends a word, and % begins a specifier.
            escaped = (each.replace("%", "%%") for each in sorted(closed))
            setting = " ".join(f'"{each}"' if " " in each else each for each in escaped)
            yield problem(
                "services",
                f"services: {unit} may not write to {' '.join(sorted(closed))}",
                f"systemctl edit {unit}, with [Service] and, below it, ReadWritePaths={setting}; "
                f"then: systemctl restart {unit}",
            )


def _unit_line(units: Units, unit: str) -> Line | None:
    load, state = units.get(unit, "LoadState"), units.get(unit, "ActiveState")
    why = f"journalctl -u {unit} -n 20"
    restart = f"systemctl restart {unit}"
    if load == "masked":
        text = f"services: {unit} is masked, or its file is empty"
        hint = f"systemctl unmask {unit}; if its file has 0 bytes, run the deployment again."
    elif load != "loaded":
        text = f"services: {unit} is {load}"
        hint = "Run the deployment again: it writes the units."
    elif state == "failed":
        text = f"services: {unit} has failed ({_reason(units, unit)})"
        hint = f"Why: {why}; then: systemctl reset-failed {unit}; {restart}"
    # systemd waits for the next attempt or is in one.
    elif state == "activating" and (
        units.get(unit, "SubState") == "auto-restart"
        or units.get(unit, "NRestarts") not in ("", "0")
    ):
        text = f"services: {unit} fails and is started again and again ({_reason(units, unit)})"
        hint = f"Why: {why}"
    elif state == "activating":
        return note("services", f"services: {unit} is starting", f"If it lasts: {why}")
    elif state not in ("active", "reloading"):
        text = f"services: {unit} is {state or 'not known to systemd'}"
        hint = f"systemctl start {unit}"
    else:
        return None
    return problem("services", text, hint)


def _reason(units: Units, unit: str) -> str:
    result, status = units.get(unit, "Result"), units.get(unit, "ExecMainStatus")
    restarts = units.get(unit, "NRestarts")
    words = [result or "no reason", f"status {status}" if status not in ("", "0") else ""]
    words.append(f"{restarts} restarts" if restarts not in ("", "0") else "")
    return ", ".join(word for word in words if word)


def volume_lines(
    *paths: Path,
    fstab: Path = Path("/etc/fstab"),
    mounts: Path = Path("/proc/self/mounts"),
) -> Iterator[Line]:
    """Yield a problem for each file system of these paths in /etc/fstab that is not mounted."""
    try:
        wanted = _mount_points(fstab.read_text("utf-8", "replace"))
        mounted = _mount_points(mounts.read_text("utf-8", "replace"))
    except OSError:
        return
    for place in sorted(wanted - mounted - {Path("/")}):
        path = next((each for each in paths if each.resolve().is_relative_to(place)), None)
        if path is not None:
            text = f"volume: {place} is in /etc/fstab and not mounted: {path} is not on its disk"
            hint = f"Attach its disk, then: mount {place}; systemctl restart {HUB}"
            yield problem("volume", text, hint)


def _mount_points(table: str) -> set[Path]:
    rows = (line.split() for line in table.splitlines() if not line.lstrip().startswith("#"))
    named = (row[1].replace("\\040", " ") for row in rows if len(row) > 1)
    return {Path(name) for name in named if name.startswith("/")}


def listener_of(port: int) -> str:
    """Return the name of the user who listens on a TCP port of this machine, "" if unknown."""
    for name in ("tcp", "tcp6"):
        try:
            found = listeners(Path("/proc/net") / name, port)
        except OSError:
            continue
        if found:
            return account_name(found[0])
    return ""
