"""The typed settings, and the only module that reads the environment.

Defaults < ``mograder.toml`` < ``MOGRADER_*`` < options. The file is found in ``-C``, in
``MOGRADER_COURSE_DIR``, or in the working directory or the nearest one above it. Entry points load
the settings once and pass them on.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import socket
import stat
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType

from pydantic import SecretStr

from mograder.core.errors import InvalidInput
from mograder.core.item_dates import written_dates
from mograder.core.log import mask
from mograder.core.operating_system import SYSTEM, is_root, user_id
from mograder.core.sections.settings_layers import KEYS, Layers, item_keys, note_on
from mograder.core.sections.settings_layers import Origin as Origin
from mograder.core.sections.settings_layers import split_list as split_list
from mograder.core.sections.settings_model import LimitsSettings, Settings
from mograder.core.systemd import NO_SERVICE, Service
from mograder.core.web_origin import session_url

FILE_NAME = "mograder.toml"
STATE_DIR = ".mograder"
"""The name of the program's own directory in a course: database, environments, logs."""

_FETCHED = ("release", "seen")
"""Names in `STATE_DIR` beside a fetched notebook, which that of a course does not have."""
_MAX_FILE_BYTES = 1_000_000
_LIMITS = "MOGRADER_LIMITS_"
_TOML_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_NO_SECONDS = re.compile(
    r"^([ \t]*[\w.\"'-]+[ \t]*=[ \t]*(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d)"
    r"(?=[ \t]*(?:Z|[+-]\d\d:\d\d)?[ \t]*(?:#.*)?\r?$)",
    re.MULTILINE,
)
_TABLE_LINE = re.compile(r"[ \t]*\[\[?(.+?)\]\]?[ \t]*(?:#.*)?$")
_KEY_LINE = re.compile(r"[ \t]*([^=#\[]+?)[ \t]*=")
_URL_PASSWORD = re.compile(r"(://[^:@]*:).*@", re.DOTALL)
_BUILD_VARIABLES = frozenset(
    {"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
)
_WINDOWS_VARIABLES = frozenset(
    {
        *("ALLUSERSPROFILE", "APPDATA", "COMMONPROGRAMFILES", "COMSPEC", "HOMEDRIVE", "HOMEPATH"),
        *("LOCALAPPDATA", "NUMBER_OF_PROCESSORS", "OS", "PATHEXT", "PROCESSOR_ARCHITECTURE"),
        *("PROGRAMDATA", "PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432", "SYSTEMDRIVE"),
        *("SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE", "WINDIR"),
    }
)
"""Where Windows keeps things; without some of them no program starts there."""
_NOT_FOR_BUILDS = ("UV_CACHE_DIR", "UV_PROJECT")
_MAX_SECRET = 4096
MAX_NODE_TOKENS = 65_536
"""Characters of a file of node tokens, which has a line for each machine."""


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings, their course directory, and the origin of each value.

    ``origins`` has every dotted key ("hub.port") as the file writes it; ``warnings`` are sentences
    about ignored entries.
    """

    settings: Settings
    course_dir: Path
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...]

    @property
    def state_dir(self) -> Path:
        return self.course_dir / STATE_DIR

    @property
    def on_moodle(self) -> bool:
        """Whether students reach the course by Moodle.

        ``transport`` selects it; where that is not set, the configured address does.
        """
        settings = self.settings
        chosen = self.origins["transport"] is not Origin.DEFAULT
        selected = settings.transport == "moodle" if chosen else not settings.https.url
        return bool(settings.moodle.url) and selected

    @property
    def gradebook_path(self) -> Path:
        return self.path(self.settings.gradebook.path)

    def path(self, relative: str) -> Path:
        """Return a configured path, relative to the course, with ``~`` expanded."""
        try:
            return self.course_dir / Path(relative).expanduser()
        except RuntimeError as error:
            raise InvalidInput(f"The path {relative} has no home directory.") from error


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of ``mograder config show``; ``note`` states that a key has no effect."""

    key: str
    value: object
    origin: Origin
    note: str = ""


@dataclass(frozen=True, slots=True)
class GraderEnviron:
    """The variables of 0.3.16's ``grader-asgi`` (compatibility-0.3.16.md 5); empty if not set."""

    base_url: str = ""
    instructors: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    trust_local_proxy: bool = False


DRAIN_SECONDS = 20.0
"""The default time between a node's signal to end and the end of its last sessions."""


@dataclass(frozen=True, slots=True)
class NodeEnviron:
    """The settings of a node.

    ``state`` is the directory of its environments; ``shares`` are the directories that it
    has in common with the hub, whose address is ``hub``. ``token`` is its token. ``memory_mb`` is
    for all sessions together, 0 for nine tenths of the machine's. ``drain_seconds`` is the time
    between the signal to end and the end of the last session. ``limits`` are the variables of
    ``[limits]``, unread: a node has no ``mograder.toml``.
    """

    state: Path = Path("mograder-node")
    shares: tuple[Path, ...] = ()
    name: str = ""
    hub: str = ""
    token: SecretStr | None = None
    memory_mb: int = 0
    drain_seconds: float = DRAIN_SECONDS
    uv_cache: Path | None = None
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Environ:
    """Further values of the environment: credentials, directories, variables of subprocesses."""

    hub_secret: SecretStr | None
    hub_url: str
    hub_instructor_token: SecretStr | None
    course_dir: Path | None
    runtime_directory: Path | None
    """Created for us by systemd (``RuntimeDirectory=``)."""
    xdg_runtime_dir: Path | None
    build: Mapping[str, str]
    """The variables that a uv build needs: indexes, certificates, proxies."""
    home: Path
    path: str
    hub_ssh: str = ""
    hub_ssh_options: tuple[str, ...] = ()
    enrollment_code: SecretStr | None = None
    port: str = ""
    """The port on which a hosting platform expects the server (compatibility-0.3.16.md 4)."""
    sudo_uid: int = 0
    """The user who started this process by sudo; 0 without one."""
    moodle_token: SecretStr | None = None
    oidc_secret: SecretStr | None = None
    mail_password: SecretStr | None = None
    service: Service = NO_SERVICE
    authority: Path | None = None
    """The file of a certificate authority that systemd passed (``LoadCredential=authority:…``)."""
    grader: GraderEnviron = field(default_factory=GraderEnviron)
    node: NodeEnviron = field(default_factory=NodeEnviron)


def load_settings(
    course_dir: Path | None = None,
    *,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedSettings:
    """Return the course's settings; ``overrides`` are options by dotted key, None = not given.

    Raises: InvalidInput also for a ``[hub] session_url`` that does not isolate sessions, and for
    directories of which one holds another.
    """
    environ = os.environ if environ is None else environ
    directory = _course_dir(course_dir, environ)
    layers = Layers()
    file = directory / FILE_NAME
    data = _read_file(file)
    if data is not None:
        text = _text_of(data, file)
        tree = _with_old_assignments(_parse_toml(text, file))
        layers.add_file(tree, lambda key: f"{file}{_line_of(key, text)}")
    layers.add_environment(environ)
    layers.add_options(overrides or {})
    origins = MappingProxyType(layers.origins)
    hub = layers.settings.hub
    session_url(hub.session_url, hub.public_url)  # checked here: the keys may be of two layers
    for name in layers.settings.items:
        written_dates(layers.settings, name)  # checked here: they may need the course's time zone
    loaded = LoadedSettings(layers.settings, directory, origins, tuple(layers.warnings))
    _demand_apart(loaded)
    return loaded


def default_settings(course_dir: Path) -> LoadedSettings:
    layers = Layers()
    return LoadedSettings(layers.settings, course_dir, MappingProxyType(layers.origins), ())


def limits_of(variables: Mapping[str, str]) -> LimitsSettings:
    """Return the limits by these variables, without a file. Raises: as :func:`load_settings`."""
    layers = Layers()
    layers.add_environment(variables)
    return layers.settings.limits


def read_environ(environ: Mapping[str, str] | None = None) -> Environ:
    """Return the other variables that we use; empty ones count as absent."""
    environ = os.environ if environ is None else environ
    home = _absolute(environ.get("HOME", "")) or Path.home()
    return Environ(
        hub_secret=_secret(environ, "MOGRADER_HUB_SECRET", "hub-secret"),
        oidc_secret=_secret(environ, "MOGRADER_OIDC_SECRET", "oidc-secret"),
        mail_password=_secret(environ, "MOGRADER_MAIL_PASSWORD", "mail-password"),
        hub_url=environ.get("MOGRADER_HUB_URL", ""),
        hub_instructor_token=_secret(environ, "MOGRADER_HUB_INSTRUCTOR_TOKEN"),
        course_dir=Path(text) if (text := environ.get("MOGRADER_COURSE_DIR", "")) else None,
        # systemd joins several runtime directories with a colon; the first is ours.
        runtime_directory=_absolute(environ.get("RUNTIME_DIRECTORY", "").split(":")[0]),
        xdg_runtime_dir=_absolute(environ.get("XDG_RUNTIME_DIR", "")),
        build=MappingProxyType({k: v for k, v in environ.items() if _for_builds(k)}),
        home=home,
        path=environ.get("PATH", os.defpath),
        hub_ssh=environ.get("MOGRADER_HUB_SSH", ""),
        hub_ssh_options=_words(environ, "MOGRADER_HUB_SSH_OPTIONS"),
        enrollment_code=_secret(environ, "MOGRADER_ENROLLMENT_CODE"),
        port=environ.get("PORT", ""),
        sudo_uid=int(text) if (text := environ.get("SUDO_UID", "")).isdecimal() else 0,
        moodle_token=_secret(environ, "MOGRADER_MOODLE_TOKEN"),
        service=Service.found_in(environ),
        authority=_credential_file(environ, "authority"),
        grader=GraderEnviron(
            base_url=environ.get("MOGRADER_BASE_URL", ""),
            instructors=split_list(environ.get("MOGRADER_INSTRUCTORS", "")),
            markers=split_list(environ.get("MOGRADER_MARKERS", "")),
            trusted_proxies=split_list(environ.get("MOGRADER_TRUSTED_PROXIES", "")),
            trust_local_proxy=environ.get("MOGRADER_TRUST_LOCAL_PROXY") == "1",
        ),
        node=_node_environ(environ, home),
    )


def runtime_dir(loaded: LoadedSettings, environ: Environ) -> Path:
    """Return the directory for sockets: short, since a socket's path is limited to 107 bytes.

    Each course has its own, so that two hubs on a machine do not collide. It is not created here;
    the caller that creates it must check its owner and mode, since every user may write below
    ``/tmp``.
    """
    if configured := loaded.settings.hub.runtime_dir:
        return loaded.path(configured)
    if environ.runtime_directory:
        return environ.runtime_directory
    return own_runtime_dir(loaded.course_dir, environ)


def own_runtime_dir(place: Path, environ: Environ) -> Path:
    course = hashlib.sha256(os.fsencode(place)).hexdigest()[:12]
    if is_root():
        return Path(f"/run/mograder-{course}")
    if environ.xdg_runtime_dir:
        return environ.xdg_runtime_dir / f"mograder-{course}"
    if sys.platform != "win32":  # which has no such sockets
        course = f"{os.geteuid()}-{course}"
    return Path(f"/tmp/mograder-{course}")  # noqa: S108  # see the docstring of runtime_dir


def describe(loaded: LoadedSettings) -> tuple[SettingRow, ...]:
    """Return every setting with its value and origin, secrets masked, for display."""
    tree: Mapping[str, object] = loaded.settings.model_dump(mode="json", by_alias=True)
    origins = loaded.origins
    rows = [SettingRow(key, _displayed(key, tree), origins[key], note_on(key)) for key in KEYS]
    for name, item in sorted(loaded.settings.items.items()):
        rows += [SettingRow(key, at, origins[key]) for key, at in item_keys(name, item).items()]
    return tuple(rows)


def _displayed(key: str, tree: Mapping[str, object]) -> object:
    section, _, name = key.rpartition(".")
    table = tree[section] if section else tree
    value = table[name] if isinstance(table, Mapping) else None
    if key == "https.token":
        return "***" if value else ""
    if key == "database.url":
        # Everything up to the last @: a password may contain an unescaped slash.
        return mask(_URL_PASSWORD.sub(r"\1***@", str(value)))
    return _masked(value)


def _masked(value: object) -> object:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {name: _masked(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each) for each in value]
    return value


def _course_dir(given: Path | None, environ: Mapping[str, str]) -> Path:
    named = environ.get("MOGRADER_COURSE_DIR", "")
    if given is not None:
        directory, hint = given, "Check the -C/--course-dir option."
    elif named:
        directory, hint = Path(named), "Check the variable MOGRADER_COURSE_DIR."
    else:
        directory, hint = _found_upwards(), "Change to a directory that exists."
    try:
        resolved = directory.expanduser().resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InvalidInput(f"There is no course directory {directory}.", hint=hint) from error
    if not resolved.is_dir():
        raise InvalidInput(f"The course directory {directory} is not a directory.", hint=hint)
    return resolved


def _found_upwards() -> Path:
    """Return the working directory, or the nearest one above it that is a course."""
    hint = "Change to the directory of your course, or name it: -C DIRECTORY."
    try:
        here = Path().absolute()
    except FileNotFoundError as error:
        raise InvalidInput("The working directory was removed.", hint=hint) from error
    if not os.access(here, os.X_OK):
        raise InvalidInput(f"You may not look into the working directory, {here}.", hint=hint)
    file = here / FILE_NAME
    if os.path.lexists(file):
        ours = file.lstat().st_uid in (0, user_id())  # Windows calls all owners 0
        if here.stat().st_mode & stat.S_IWOTH and not ours:
            raise InvalidInput(f"{file} is another user's, where everybody can write.", hint=hint)
        return here
    state = here / STATE_DIR
    if state.is_dir() and not any((state / name).exists() for name in _FETCHED):
        return here  # a course without a file of settings
    return course_above(here) or here


def course_above(place: Path) -> Path | None:
    """Return the nearest directory with a file of settings: an existing one, or one above it.

    What another user could have put above is not taken: settings name the servers of tokens.
    """
    owner = place.stat().st_uid
    for directory in (place, *place.parents):
        file = directory / FILE_NAME
        if file.is_file() and file.stat().st_uid == directory.stat().st_uid == owner:
            return directory
    return None


def _demand_apart(loaded: LoadedSettings) -> None:
    """Refuse a directory of the hub that is, or holds, another one of the settings.

    A folder in ``notebooks_dir`` is a student, the hub removes environments and runs, and a backup
    leaves environments out. ``release_dir`` may be ``[dirs] release``: both hold releases.
    """
    settings = loaded.settings
    hub = {
        "[hub] notebooks_dir": settings.hub.notebooks_dir,
        "[hub] release_dir": settings.hub.release_dir,
        "[hub] environments_dir": settings.hub.environments_dir,
        "[nodes] runs_dir": settings.nodes.runs_dir,
    }
    named = settings.dirs.model_dump(by_alias=True)
    course = {f"[dirs] {name}": text for name, text in named.items() if text}
    course[f"the program's own {STATE_DIR}"] = STATE_DIR
    # Unlike Path.resolve(), realpath takes links in a circle.
    places = {
        name: Path(os.path.realpath(loaded.path(text))) for name, text in (hub | course).items()
    }
    for name in hub:
        others = hub if name == "[hub] release_dir" else places
        for other in others:
            if other != name and places[other].is_relative_to(places[name]):
                raise InvalidInput(
                    f"{name}, {places[name]}, is or holds {other}, {places[other]}.",
                    hint="Give each a directory of its own, beside the other.",
                )


def _read_file(file: Path) -> bytes | None:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise InvalidInput(f"{file} is not a regular file.")
        with file.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        if file.is_symlink():
            raise InvalidInput(f"{file} is a symbolic link to nothing.") from error
        return None
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise InvalidInput(
            f"{file} cannot be read: {reason}.", hint="Check the file's owner and permissions."
        ) from error
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidInput(f"{file} is larger than {_MAX_FILE_BYTES} bytes.")
    return data


def _text_of(data: bytes, file: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode("utf-8", "replace"))
        raise InvalidInput(f"{file}:{line}:{column}: not UTF-8 text.") from error


def _line_of(key: tuple[str, ...], text: str) -> str:
    """Return ":LINE" of a key of a file's text, or of the table that holds it; "" if not found."""
    found, table = dict[tuple[str, ...], int](), tuple[str, ...]()
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _TABLE_LINE.match(line):
            table = _path_of(match[1])
            found.setdefault(table, number)
            if line.lstrip().startswith("[["):
                table = next(each for i in count() if (each := (*table, str(i))) not in found)
                found[table] = number
        elif match := _KEY_LINE.match(line):
            found.setdefault((*table, *_path_of(match[1])), number)
    parents = (key[:length] for length in range(len(key), 0, -1))
    return next((f":{found[each]}" for each in parents if each in found), "")


def _path_of(written: str) -> tuple[str, ...]:
    """Return the parts of a key as a file writes it: ``items."Week 1".due``."""
    try:
        tree: object = tomllib.loads(f"{written} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts: list[str] = []
    while isinstance(tree, dict):
        ((name, tree),) = tree.items()
        parts.append(name)
    return tuple(parts)


def _parse_toml(text: str, file: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(with_seconds(text))
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _TOML_POSITION.search(message)
        line, column = _position(text)
        if found and found[1]:
            line, column = int(found[1]), int(found[2])
        reason = _TOML_POSITION.sub("", message)
        if reason == "Cannot overwrite a value":
            reason = f"{text.splitlines()[line - 1].partition('=')[0].strip()} is there twice"
        raise InvalidInput(f"{file}:{line}:{column}: {reason}.") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise InvalidInput(f"{file} has a value without end, or is nested too deeply.") from error


def _with_old_assignments(tree: Mapping[str, object]) -> Mapping[str, object]:
    """Move ``[[moodle.assignments]]`` to the top (compatibility-0.3.16.md 6)."""
    moodle = tree.get("moodle")
    if not isinstance(moodle, dict) or "assignments" not in moodle:
        return tree
    rest = {name: value for name, value in moodle.items() if name != "assignments"}
    return {"assignments": moodle["assignments"], **tree, "moodle": rest}


def with_seconds(text: str) -> str:
    """Return a TOML text with the seconds that TOML 1.0 demands of ``due = 2026-12-01T18:00``."""
    return _NO_SECONDS.sub(r"\1:00", text)


def _position(text: str) -> tuple[int, int]:
    """Return the 1-based line and column of the place just after the text."""
    return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1


def _absolute(text: str) -> Path | None:
    # A shell on Windows may set HOME to "/c/Users/alice", which is no absolute path there.
    return Path(text) if text and Path(text).is_absolute() else None


def _words(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(environ.get(name, "")))
    except ValueError as error:
        raise InvalidInput(f"{name} cannot be split into words: {error}.") from error


def _credential(environ: Mapping[str, str], name: str, most: int = _MAX_SECRET) -> str:
    """Return ``most`` characters of a file that systemd passes; other processes cannot read it."""
    try:
        if (path := _credential_file(environ, name)) is None:
            return ""
        with path.open(encoding="utf-8") as file:
            return file.read(most).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _credential_file(environ: Mapping[str, str], name: str) -> Path | None:
    directory = _absolute(environ.get("CREDENTIALS_DIRECTORY", ""))
    return directory / name if directory and (directory / name).is_file() else None


def _secret(environ: Mapping[str, str], name: str, credential: str = "") -> SecretStr | None:
    text = environ.get(name, "") or (_credential(environ, credential) if credential else "")
    return SecretStr(text) if text.strip() else None


def _for_builds(name: str) -> bool:
    known = _BUILD_VARIABLES | (_WINDOWS_VARIABLES if SYSTEM == "windows" else frozenset())
    return name.upper() in known or (
        name.startswith("UV_") and not name.startswith(_NOT_FOR_BUILDS)
    )


def _node_environ(environ: Mapping[str, str], home: Path) -> NodeEnviron:
    """Return the settings of a node from ``MOGRADER_NODE_*``.

    The state is in ``MOGRADER_NODE_STATE``, in the directory that systemd has made
    (``StateDirectory=``), or in the home.
    """
    state = environ.get("MOGRADER_NODE_STATE") or environ.get("STATE_DIRECTORY", "").split(":")[0]
    cache = environ.get("MOGRADER_NODE_UV_CACHE", "")
    token = environ.get("MOGRADER_NODE_TOKEN", "").strip()
    token = token or _credential(environ, "node-token", MAX_NODE_TOKENS)
    return NodeEnviron(
        state=Path(state) if state else home / ".local/state/mograder-node",
        shares=tuple(map(Path, filter(None, environ.get("MOGRADER_NODE_SHARE", "").split(":")))),
        name=environ.get("MOGRADER_NODE_NAME", "") or socket.gethostname().partition(".")[0],
        hub=environ.get("MOGRADER_NODE_HUB", "").strip(),
        token=SecretStr(token) if token else None,
        memory_mb=int(_number(environ, "MOGRADER_NODE_MEMORY_MB", 0)),
        drain_seconds=_number(environ, "MOGRADER_NODE_DRAIN_SECONDS", DRAIN_SECONDS),
        uv_cache=Path(cache) if cache else None,
        limits=MappingProxyType({k: v for k, v in environ.items() if k.startswith(_LIMITS)}),
    )


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise InvalidInput(f"{name} is not a number: {text[:40]!r}.")
    return number
