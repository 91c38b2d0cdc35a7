"""The synthetic ``/etc`` of a sandbox: enough to resolve names and load shared libraries."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

_FILES = {
    "passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    "student:x:1000:1000:student:/home/student:/bin/bash\n",
    "group": "root:x:0:\nstudent:x:1000:\n",
    # marimo's kernel listens on localhost and resolves that name.
    "hosts": "127.0.0.1 localhost notebook\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_SESSION = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "mime.types")
_BUILD = (*_SESSION, "resolv.conf", "ssl", "ca-certificates", "pki", "uv", "hosts")

_ALL_READ = 0o004
_ALL_ENTER = 0o005


def write_etc(directory: Path, *, network: bool, host: Path = Path("/etc")) -> Path:
    """Write a new synthetic ``/etc`` to ``directory`` and return it.

    Builds (``network``) also get the resolver configuration and the CA certificates for the
    package index. Of ``host``'s files, only those that every user of the machine may read are
    copied.
    """
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(mode=0o755, parents=True)
    for name, text in _FILES.items():
        (directory / name).write_text(text)
    for name in _BUILD if network else _SESSION:
        _copy(host / name, directory / name)
    _open_to_all(directory)
    return directory


def refresh_resolver(directory: Path) -> None:
    """Copy ``resolv.conf`` again: the host may change networks while the supervisor runs."""
    _copy(Path("/etc/resolv.conf"), directory / "resolv.conf")


def _copy(source: Path, target: Path) -> None:
    if _unreadable(str(source.parent), [source.name]):
        return
    if source.is_dir():
        # Files that only root may read (private keys below /etc/ssl) are not copied.
        shutil.copytree(source, target, symlinks=True, ignore=_unreadable, dirs_exist_ok=True)
    elif source.is_file():  # resolv.conf is often a link to /run, which a sandbox does not have
        shutil.copyfile(source, target)


def _unreadable(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if not _is_public(Path(directory) / name)]


def _is_public(path: Path) -> bool:
    """Return whether all users may read the path; true for a link, which is copied as a link.

    Inside, a link whose target is not public is dangling.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # removed meanwhile, or it never existed
        return False
    if stat.S_ISDIR(mode):
        return mode & _ALL_ENTER == _ALL_ENTER
    return stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and bool(mode & _ALL_READ))


def _open_to_all(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
