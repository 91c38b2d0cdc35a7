"""Checks of a directory that hub and nodes share: mount options, locks, root, space.

The files that they write are removed again. See docs/how-to/share-files-with-nodes.md.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
from collections.abc import Iterator
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.core.files import file_lock
from mograder.core.files.disk import Mount, closing_fd, mount_of, refuses_root, space_of, write_file
from mograder.core.settings import LoadedSettings
from mograder.operations.report import Line, note, ok, problem

_NFS = frozenset({"nfs", "nfs4"})
_LEAST_MB = 512
_LONGEST_SECONDS = 60
"""The kernel's default of ``acregmax`` and ``acdirmax``."""

_SOFT = frozenset({"soft", "softerr"})
_FRESH = frozenset({"pos", "positive", "none"})
_NAMELESS = frozenset({"localhost", "localhost.localdomain", "(none)", ""})
_REMEDY = "Mount it with: vers=4.2,hard,lookupcache=positive"
_SQUASHED = (
    "Run hub and nodes as the user who owns the directory (uid 1000 in our images), not as root; "
    "or export it with no_root_squash to these machines."
)


def share_findings(path: Path, *, mount: Mount | None = None) -> tuple[Line, ...]:
    """Return what is found of one shared directory, with remedies."""
    if not path.is_dir():
        hint = "Mount the share here, at the same path as on the hub, then create the directory."
        return (problem("share", f"share {path}: there is no such directory here", hint),)
    found = mount or mount_of(path)
    return (
        _kind_line(path, found),
        *(_mount_lines(path, found) if found is not None else ()),
        *_trial_lines(path),
        _space_line(path),
    )


def share_lines(loaded: LoadedSettings) -> Iterator[Line]:
    """Yield the findings of a hub's directories that nodes use, or that are on a share anyway."""
    hub, nodes = loaded.settings.hub, loaded.settings.nodes
    named = [loaded.path(hub.notebooks_dir), loaded.path(hub.release_dir)]
    if nodes.enabled:
        named.append(loaded.path(nodes.runs_dir))
    seen: set[Path] = set()
    for path in filter(Path.is_dir, named):
        mount = mount_of(path)
        if not nodes.enabled and (mount is None or not mount.network):
            continue
        if mount is not None and mount.point in seen:
            yield from _trial_lines(path)
            continue
        yield from share_findings(path, mount=mount)
        seen |= {mount.point} if mount is not None else set()
    mount = mount_of(loaded.state_dir)
    if mount is not None and mount.network:
        text = f"{loaded.state_dir}: it is on a share, where the database is slow"
        yield note("share-database", text, "Use PostgreSQL: see [database] url.")
    mount = mount_of(environments := loaded.path(hub.environments_dir))
    if mount is not None and mount.network:
        text = f"{environments}: it is on a share, where thousands of small files are slow"
        yield note("share-environments", text, "Set [hub] environments_dir to a local disk.")


def refuse_squashed_root(*paths: Path) -> None:
    """Raise :class:`InvalidInput` if this process is root and a share does not accept root.

    A hub or node that runs as root gives each session's directory to a user of its own.
    """
    for path in paths:
        line = squashed_line(path)
        if line is not None:
            raise InvalidInput(f"The {line.text}.", hint=line.hint)


def squashed_line(path: Path) -> Line | None:
    """Return a problem if this process is root and the share at ``path`` does not accept root."""
    if not refuses_root(path):
        return None
    text = f"share {path}: its server treats root as a stranger (root_squash)"
    return problem("share-root", text, _SQUASHED)


def _kind_line(path: Path, mount: Mount | None) -> Line:
    if mount is None:
        return note("share", f"share {path}: the kernel does not tell what it is mounted from")
    if not mount.network:
        text = f"share {path}: it is on a disk of this machine ({mount.kind})"
        return note("share", text, "Nodes on other machines need it on a network file system.")
    version = mount.option("vers")
    shown = f"{mount.kind} {version}" if version else mount.kind
    if mount.kind in _NFS and (version or "").startswith(("2", "3")):
        return problem("share", f"share {path}: {shown}, whose locks are not safe", _REMEDY)
    return ok("share", f"share {path}: {shown} from {mount.source}")


def _mount_lines(path: Path, mount: Mount) -> Iterator[Line]:
    if mount.kind not in _NFS:
        return
    soft = sorted(_SOFT & mount.options)
    if soft:
        text = f"share {path}: mounted {soft[0]}: a save fails when its server is busy"
        yield problem("share-soft", text, _REMEDY)
    if "nolock" in mount.options or mount.option("local_lock") not in (None, "none"):
        text = f"share {path}: mounted without locks (nolock): two machines may write one file"
        yield problem("share-locks", text, "Mount it without nolock and local_lock.")
    if "nocto" in mount.options:
        text = f"share {path}: mounted nocto: this machine may read what was replaced long ago"
        yield problem("share-names", text, "Mount it without nocto.")
    elif mount.option("lookupcache") not in _FRESH:
        text = f"share {path}: a file made elsewhere may be missing in sessions for up to a minute"
        yield note("share-names", text, _REMEDY)
    else:
        yield ok("share-names", f"share {path}: new files are seen at once (lookupcache)")
    given = (mount.option(name) or "" for name in ("acregmax", "acdirmax"))
    longest = max(int(value) if value.isdecimal() else 0 for value in given)
    if longest > _LONGEST_SECONDS:
        text = f"share {path}: changes by others may be seen {longest} s later (actimeo)"
        yield note("share-times", text, "Mount it without actimeo, acregmax and acdirmax.")
    if platform.node() in _NAMELESS:
        text = f"share {path}: this machine is called {platform.node()!r}, as others may be"
        hint = "Machines of one name can hold one lock at once: hostnamectl set-hostname NAME"
        yield problem("share-hostname", text, f"{hint}, then mount the share again.")


def _trial_lines(path: Path) -> Iterator[Line]:
    """Yield whether files can be written, renamed and locked there, by doing it."""
    squashed = squashed_line(path)
    if squashed is not None:
        yield squashed
        return
    trial = path / f".mograder-check-{secrets.token_hex(6)}"
    try:
        write_file(trial, b"1", 0o600)
        write_file(trial, b"22", 0o600)
        written = trial.read_bytes() == b"22"
        excluded = _locks_exclude(trial)
    except OSError as error:
        hint = f"Give it to this user (uid {os.geteuid()}), and export and mount it rw."
        yield problem("share-write", f"share {path}: cannot be written: {error.strerror}", hint)
        return
    finally:
        with contextlib.suppress(OSError):  # mounted read-only, also where there is no such file
            trial.unlink()
    if not written:
        yield problem("share-write", f"share {path}: a replaced file is read as it was", _REMEDY)
    else:
        yield ok("share-write", f"share {path}: written and replaced")
    if excluded:
        yield ok("share-flock", f"share {path}: its locks exclude others on this machine")
    else:
        text = f"share {path}: its locks do not exclude others"
        yield problem("share-flock", text, "Use a file system with flock, such as NFS 4.2.")


def _locks_exclude(path: Path) -> bool:
    """Return whether a lock keeps another descriptor out; raises ``OSError`` without locks."""
    with (
        closing_fd(os.open(path, os.O_RDWR | os.O_CLOEXEC)) as one,
        closing_fd(os.open(path, os.O_RDWR | os.O_CLOEXEC)) as other,
    ):
        return file_lock.acquire(one) and not file_lock.acquire(other)


def _space_line(path: Path) -> Line:
    space = space_of(path)
    text = f"share {path}: {space.free >> 20} of {space.total >> 20} MB free"
    if space.free >> 20 < _LEAST_MB:
        return problem("share-space", text, "Give the share more space.")
    return ok("share-space", text)
