"""The console script: the root command, its groups, and how failures become exit statuses.

Nothing heavy is imported here: a group is a table, read without importing a command, and each
command is loaded when it is used. Users are shown a sentence and a remedy for any failure, never a
traceback (decision 12).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import NoReturn

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from mograder import __version__
from mograder.cli.shared.console import colour_wanted, prepare_output
from mograder.cli.shared.lazy import Lazy, LazyGroup, Needs, server_part
from mograder.cli.shared.options import OVERRIDES, course_dir_option
from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    SandboxUnavailable,
    TimedOut,
    Unsupported,
)
from mograder.core.operating_system import SYSTEM, expanded

EXIT_CODES: Mapping[type[MograderError], int] = MappingProxyType(
    {
        InvalidInput: 2,
        NotFound: 3,
        NotAuthenticated: 4,
        Forbidden: 4,
        Conflict: 5,
        RemoteFailed: 69,
        Busy: 75,
        TimedOut: 75,
        SandboxUnavailable: 78,
        Unsupported: 78,
    }
)
"""Exception class → exit status, by ancestry; `web.error_responses` has the HTTP statuses."""

_PACKAGES, _LINUX = Needs.SERVER_PACKAGES, Needs.LINUX
_STUDENT, _TEACHER = "mograder.cli.https.student", "mograder.cli.https.instructor"

EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
"""The status that shells report after SIGPIPE, when the output's reader is gone: 128 + 13."""
_ENDING = [signal.SIGTERM]
if sys.platform != "win32":
    _ENDING.append(signal.SIGHUP)  # of a terminal that is closed
_STOPPING = b"Stopping: temporary files are being removed.\n"

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}

_ITEMS, _PEOPLE = "Items", "People"
_CARE, _SERVICE = "Looking after a hub", "Service and machines"
_HUB_SETTINGS = ("port", "host", "notebooks_dir", "session_ttl", "trusted_header", "base_url")
"""Options that are settings of [hub]. If one is not given, the course's setting is used."""

_HUB_LISTS: Mapping[str, str] = MappingProxyType(
    {"instructors": "hub.instructors", "markers": "marking.markers"}
)

_on_server = partial(Lazy, needs=Needs.LINUX)
"""A command on the hub's machine; the others are clients of a hub and run on every system."""


@dataclass(slots=True)
class _ErrorOptions:
    debug: bool = False


@click.group(
    cls=LazyGroup,
    table={
        "new": Lazy("mograder.cli.new:new"),
        "generate": Lazy("mograder.cli.generate:generate"),
        "quality": Lazy("mograder.cli.quality:quality"),
        "validate": Lazy("mograder.cli.validate:validate_command"),
        "autograde": Lazy("mograder.cli.autograde.command:autograde_command", _LINUX),
        "feedback": Lazy("mograder.cli.feedback:feedback", _PACKAGES),
        "gradebook": Lazy("mograder.cli.main:gradebook", _PACKAGES),
        "extension": Lazy("mograder.cli.main:extension", _PACKAGES),
        "grader": Lazy("mograder.cli.grader:grader", _LINUX),
        "similarity": Lazy("mograder.cli.similarity:similarity", _PACKAGES),
        "grader-asgi": Lazy("mograder.cli.grader:grader_asgi", _LINUX),
        "hub": Lazy("mograder.cli.main:hub"),
        "serve": Lazy("mograder.cli.serve:serve", _LINUX),
        "token": Lazy("mograder.cli.server_tokens:token"),
        "moodle": Lazy("mograder.cli.main:moodle"),
        "https": Lazy("mograder.cli.main:https"),
        "receipt": Lazy(f"{_STUDENT}:receipt"),
        "student": Lazy("mograder.cli.student:student"),
        "node": Lazy("mograder.cli.main:node", _LINUX),
        "config": Lazy("mograder.cli.config:config"),
        "completion": Lazy("mograder.cli.main:completion"),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-v", "--version", message="mograder %(version)s")
@click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    # Remembered before a command is loaded, which may fail as well.
    callback=lambda ctx, _, wanted: setattr(ctx.ensure_object(_ErrorOptions), "debug", wanted),
    envvar="MOGRADER_DEBUG",
    show_envvar=True,
    help="Show the technical details of a failure.",
)
def root() -> None:
    """Teach with marimo notebooks: hand out, run, collect and grade."""


@click.group(
    cls=LazyGroup,
    table={
        "run": Lazy("mograder.cli.node:run"),
        "drain": Lazy("mograder.cli.node:drain"),
        "check": Lazy("mograder.cli.node:check"),
    },
)
def node() -> None:
    """Run notebooks on this machine for a hub on another one.

    Give it the token that `mograder hub node-token` prints.
    """


@click.group(
    cls=LazyGroup,
    table={
        "add": Lazy("mograder.cli.extension:add"),
        "remove": Lazy("mograder.cli.extension:remove"),
        "pick": Lazy("mograder.cli.serve:pick", _LINUX),
        "list": Lazy("mograder.cli.extension:show"),
        "import": Lazy("mograder.cli.extension:import_csv"),
        "export": Lazy("mograder.cli.extension:export"),
        "group": Lazy("mograder.cli.extension:group_command"),
        "policy": Lazy("mograder.cli.extension:policy"),
    },
)
def extension() -> None:
    """Give extensions and exemptions, and set the rule for late work.

    Marks follow at once, without grading again: deductions are computed from the stored times of
    submission whenever marks are shown. `--dry-run` lists the marks that would change. Nothing is
    overwritten: the gradebook keeps each change with its author and time.
    """


@click.group(
    "https",
    cls=LazyGroup,
    table={
        "login": Lazy(f"{_STUDENT}:login"),
        "register": Lazy(f"{_STUDENT}:register_command"),
        "fetch": Lazy(f"{_STUDENT}:fetch_command"),
        "submit": Lazy(f"{_STUDENT}:submit_command"),
        "feedback": Lazy(f"{_STUDENT}:feedback_command"),
        "receipt": Lazy(f"{_STUDENT}:receipt"),
        "fetch-submissions": Lazy(f"{_TEACHER}:fetch_submissions", _PACKAGES),
        "upload-grades": Lazy(f"{_TEACHER}:upload_grades", _PACKAGES),
        "upload-feedback": Lazy(f"{_TEACHER}:upload_feedback", _PACKAGES),
        "export-web": Lazy("mograder.cli.serve:export_web", Needs.LINUX),
        "reset": Lazy(f"{_TEACHER}:reset", _PACKAGES),
    },
)
def https() -> None:
    """Fetch, submit and grade over an assignment server."""


@click.group(
    cls=LazyGroup,
    table={
        "show": Lazy("mograder.cli.gradebook.show:show"),
        "explain": Lazy("mograder.cli.gradebook.show:explain"),
        "mark": Lazy("mograder.cli.gradebook.mark:mark"),
        "confirm": Lazy("mograder.cli.gradebook.mark:confirm"),
        "import": Lazy("mograder.cli.gradebook.mark:import_marks"),
        "statistics": Lazy("mograder.cli.gradebook.show:statistics"),
        "export": Lazy("mograder.cli.gradebook.exchange:export"),
        "release": Lazy("mograder.cli.gradebook.release:release"),
        "withdraw": Lazy("mograder.cli.gradebook.release:withdraw"),
        "import-0316": Lazy("mograder.cli.gradebook.exchange:import_0316"),
        "export-0316": Lazy("mograder.cli.gradebook.exchange:export_0316"),
        "check": Lazy("mograder.cli.gradebook.show:check"),
    },
)
def gradebook() -> None:
    """Look after the marks of a course.

    They are in gradebook.db. A person's mark counts before the one by grading, and no mark is ever
    overwritten: explain shows all of them.
    """


@click.group(
    cls=LazyGroup,
    table={
        "login": Lazy("mograder.cli.moodle.site:login"),
        "sync": Lazy("mograder.cli.moodle.course:sync", _PACKAGES),
        "sync-users": Lazy("mograder.cli.moodle.course:sync_users", _PACKAGES),
        "fetch": Lazy("mograder.cli.moodle.student:fetch"),
        "submit": Lazy("mograder.cli.moodle.student:submit"),
        "feedback": Lazy("mograder.cli.moodle.student:feedback"),
        "fetch-submissions": Lazy("mograder.cli.moodle.collect:fetch_submissions", _PACKAGES),
        "upload-feedback": Lazy("mograder.cli.moodle.marks:upload_feedback", _PACKAGES),
        "export": Lazy("mograder.cli.moodle.marks:export", _PACKAGES),
        "upload": Lazy("mograder.cli.moodle.upload:upload", _PACKAGES),
    },
)
def moodle() -> None:
    """Hand out, collect and grade with a Moodle course.

    An ordinary teacher's account is enough. Sign in once by `mograder moodle login`, then run
    `mograder moodle sync` in the course.
    """


@click.group(
    cls=LazyGroup,
    table={
        "publish": Lazy("mograder.cli.hub.publish:publish", section=_ITEMS),
        "update": Lazy("mograder.cli.hub.items:update", section=_ITEMS),
        "visibility": Lazy("mograder.cli.hub.course:visibility", section=_ITEMS),
        "schedule": Lazy("mograder.cli.hub.course:schedule", section=_ITEMS),
        "rehearse": Lazy("mograder.cli.hub.items:rehearse", section=_ITEMS),
        "warm": Lazy("mograder.cli.hub.items:warm", section=_ITEMS),
        "warm-cache": Lazy("mograder.cli.hub.items:warm_cache", section=_ITEMS),
        "sync-users": Lazy("mograder.cli.hub.course:sync_users", section=_PEOPLE),
        "login-link": _on_server("mograder.cli.hub.tokens:login_link", section=_PEOPLE),
        "generate-token": Lazy("mograder.cli.hub.course:generate_token", section=_PEOPLE),
        "revoke-token": Lazy("mograder.cli.hub.course:revoke_token", section=_PEOPLE),
        "lti": _on_server("mograder.cli.hub.lti:lti", section=_PEOPLE),
        "check": Lazy("mograder.cli.hub.check:check", section=_CARE),
        "routes": _on_server("mograder.cli.hub.routes:routes", section=_CARE),
        "backup": _on_server("mograder.cli.hub.backup:backup", section=_CARE),
        "restore": _on_server("mograder.cli.hub.backup:restore", section=_CARE),
        "move-database": _on_server("mograder.cli.hub.upkeep:move_database", section=_CARE),
        "rotate-audit": _on_server("mograder.cli.hub.upkeep:rotate_audit", section=_CARE),
        "prune": _on_server("mograder.cli.hub.upkeep:prune", section=_CARE),
        "install": _on_server("mograder.cli.hub.install:install", section=_SERVICE),
        "uninstall": _on_server("mograder.cli.hub.install:uninstall", section=_SERVICE),
        "rollback": _on_server("mograder.cli.hub.install:rollback", section=_SERVICE),
        "proxy-config": _on_server("mograder.cli.hub.install:proxy_config", section=_SERVICE),
        "nodes": _on_server("mograder.cli.hub.nodes:nodes", section=_SERVICE),
        "node-token": _on_server("mograder.cli.hub.nodes:node_token", section=_SERVICE),
        "supervisor": _on_server("mograder.cli.hub.run:supervisor", hidden=True),
    },
    invoke_without_command=True,
)
@course_dir_option
@click.option("--port", type=int, help="Server port.  [default: [hub] port, 8080]")
@click.option("--host", help="Bind address.  [default: [hub] host, 0.0.0.0]")
@click.option(
    "--notebooks-dir",
    type=click.Path(),
    help="Student notebooks directory.  [default: [hub] notebooks_dir, hub-notebooks]",
)
@click.option(
    "--session-ttl",
    type=int,
    help="Session idle timeout in seconds.  [default: [hub] session_ttl, 3600]",
)
@click.option(
    "--trusted-header",
    help="Trusted proxy header name.  [default: [hub] trusted_header, X-Remote-User]",
)
@click.option(
    "--instructors",
    metavar="NAME,NAME…",
    help="Users who are instructors.  [default: [hub] instructors]",
)
@click.option(
    "--markers",
    metavar="NAME,NAME…",
    help="Users who mark what is open for marking.  [default: [marking] markers]",
)
@click.option(
    "--base-url",
    metavar="PREFIX",
    help="Path prefix under which browsers find the hub.  [default: [hub] base_url]",
)
@click.option("--dev", is_flag=True, help="Development mode: no sign-in required.")
@click.option("--headless", is_flag=True, help="Do not open a browser on startup.")
@click.pass_context
def hub(ctx: click.Context, /, *, dev: bool, headless: bool, **options: object) -> None:
    """Run the shared hub, and look after it.

    Without a command this starts the server. MOGRADER_HUB_SECRET must be set, unless --dev.
    """
    ctx.meta[OVERRIDES] = overrides = overrides_of(**options)
    if ctx.invoked_subcommand is None:
        run_hub = server_part("mograder.cli.hub.run:run_hub")
        run_hub(overrides, dev=dev, headless=headless)


def overrides_of(**options: object) -> dict[str, object]:
    """Return the settings that options override; None means that an option is not given."""
    overrides = {f"hub.{name}": options[name] for name in _HUB_SETTINGS}
    directory = options["notebooks_dir"]
    if directory and isinstance(directory, str):
        # Relative to the working directory, as all options; the setting is relative to the course.
        path = os.path.abspath(expanded(directory))  # noqa: PTH100 - keeps links
        overrides["hub.notebooks_dir"] = path
    lists = ((key, options[name]) for name, key in _HUB_LISTS.items())
    return overrides | {key: _names_in(text) for key, text in lists if isinstance(text, str)}


def _names_in(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Let the shell complete commands and options.

    It prints lines for SHELL, which the shell reads when it starts:

    bash, in ~/.bashrc: eval "$(mograder completion bash)"

    zsh, in ~/.zshrc: eval "$(mograder completion zsh)"

    fish: mograder completion fish > ~/.config/fish/completions/mograder.fish
    """
    root = ctx.find_root()
    name = root.info_name or "mograder"
    lines = _SHELLS[shell](root.command, {}, name, f"_{name.upper()}_COMPLETE")
    click.echo(lines.source())


def main() -> NoReturn:
    prepare_output()
    # The default action would leave temporary files: copies of databases, and students' files.
    for each in _ENDING:
        if signal.getsignal(each) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(each, _exit_once)
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:
        if not _is_broken_pipe(error):
            raise
        status = _leave_the_pipe()
    sys.exit(status)


def _exit_once(number: int, _frame: object) -> NoReturn:
    """Exit; a second signal must not break off what removes the temporary files."""
    for each in _ENDING:
        signal.signal(each, _say_stopping)
    sys.exit(128 + number)


def _say_stopping(_number: int, _frame: object) -> None:
    with suppress(OSError):  # the terminal may be closed
        os.write(2, _STOPPING)


def run(arguments: Sequence[str], command: click.Command = root) -> int:
    """Run one command line and return its exit status; every failure is printed to stderr."""
    options = _ErrorOptions()
    stdout = sys.stdout
    try:
        result = command.main(
            args=list(arguments),
            prog_name="mograder",
            standalone_mode=False,
            obj=options,
            color=colour_wanted(),
        )
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except SystemExit as error:
        # click replaces a stdout whose reader has closed it by a wrapper, and exits.
        return _status_of(error) if sys.stdout is stdout else _leave_the_pipe()
    except Exception as error:  # noqa: BLE001  # the last handler: users must not see a traceback
        if _is_broken_pipe(error):
            return _leave_the_pipe()
        from mograder.cli.shared.failures import tell  # noqa: PLC0415  # loaded only on failure

        return exit_code(type(tell(error, debug=options.debug)))


def exit_code(family: type[BaseException]) -> int:
    """Return the exit status of a failure: that of its nearest ancestor in the table."""
    known = (EXIT_CODES[each] for each in family.__mro__ if each in EXIT_CODES)
    return next(known, EXIT_BUG)


def _status_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    click.echo(f"Error: {error.code}", err=True)
    return 1


def _is_broken_pipe(error: Exception) -> bool:
    """Return whether the reader of the output is gone; Windows reports that as EINVAL."""
    if isinstance(error, BrokenPipeError):
        return True
    return (
        SYSTEM == "windows"
        and isinstance(error, OSError)
        and error.errno == errno.EINVAL
        and error.filename is None
    )


def _leave_the_pipe() -> int:
    """Redirect stdout to the null device, so that the interpreter's last flush does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return EXIT_BROKEN_PIPE
