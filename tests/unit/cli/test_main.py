"""The command line's entry point: fast help, and every failure a sentence and an exit status."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mograder import __version__
from mograder.cli.main import EXIT_BUG, EXIT_CODES, exit_code, root, run
from mograder.cli.shared.failures import reference
from mograder.cli.shared.lazy import Lazy
from mograder.cli.shared.options import PATH
from mograder.core import errors
from mograder.core.errors import MograderError
from tests.support.command_line import cli
from tests.support.graded_courses import put
from tests.support.other_system import OtherSystem, System
from tests.support.other_system.marks import SYSTEMS

HEAVY = [
    *("aiohttp", "alembic", "asyncio", "fastapi", "httpx", "jinja2", "marimo"),
    *("pydantic", "rich", "sqlalchemy", "starlette", "uvicorn"),
]


def families(family: type[MograderError] = MograderError) -> Iterator[type[MograderError]]:
    for each in family.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from families(each)


def failing(error: BaseException) -> click.Command:
    """The root command with one subcommand that fails."""

    group = click.Group("mograder", params=root.params, callback=root.callback)

    @group.command()
    def fail() -> None:
        raise error

    return group


def mograder(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mograder", *arguments],
        capture_output=True,
        text=True,
        encoding=env.get("PYTHONIOENCODING", "utf-8"),
        env={"PATH": os.environ["PATH"], **env},
        check=False,
        timeout=60,
    )


@pytest.mark.full
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["-v"], ["hub", "--help"], ["student", "--help"]]
)
def test_help_and_version_load_no_framework(arguments: list[str]) -> None:
    """performance.md: `mograder --help`."""
    code = (
        "import sys; from mograder.cli.main import run; status = run(sys.argv[1:]);"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules];"
        "sys.exit(f'loaded {loaded}' if loaded or status else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.full
def test_the_version_is_the_packages() -> None:
    done = mograder("--version")
    assert (done.returncode, done.stdout) == (0, f"mograder {__version__}\n")


def test_every_family_of_errors_has_an_exit_status() -> None:
    """Decision 12."""
    assert {family for family in families() if exit_code(family) == EXIT_BUG} == set()
    assert set(EXIT_CODES) <= set(families())


@pytest.mark.parametrize(
    ("family", "status"),
    [
        ("InvalidInput", 2),
        ("TooLarge", 2),
        ("NotFound", 3),
        ("NotAuthenticated", 4),
        ("Forbidden", 4),
        ("Conflict", 5),
        ("RemoteFailed", 69),
        ("Busy", 75),
        ("TimedOut", 75),
        ("SandboxUnavailable", 78),
        ("Unsupported", 78),
    ],
)
def test_a_failure_ends_with_its_familys_status_and_its_remedy(
    family: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    error = getattr(errors, family)("It went wrong.", hint="Do it otherwise.")
    assert run(["fail"], failing(error)) == status
    assert capfd.readouterr().err == "Error: It went wrong.\nDo it otherwise.\n"


def test_a_descendant_of_a_family_ends_like_it() -> None:
    class Gone(errors.NotFound):
        pass

    assert exit_code(Gone) == 3
    assert exit_code(MograderError) == EXIT_BUG
    assert exit_code(ValueError) == EXIT_BUG


def test_a_message_of_many_lines_is_told_whole(capfd: pytest.CaptureFixture[str]) -> None:
    run(["fail"], failing(errors.RemoteFailed("No solution found:\n  because of [this]")))
    assert capfd.readouterr().err == "Error: No solution found:\n  because of [this]\n"


def test_a_bug_is_a_reference_and_never_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["fail"], failing(ZeroDivisionError("secret detail"))) == EXIT_BUG
    told = capfd.readouterr()
    assert re.match(r"Error: something went wrong .*\(reference [0-9a-f]{8}\)\.\n", told.err)
    assert "MOGRADER_DEBUG=1" in told.err
    assert "Traceback" not in told.err
    assert "secret detail" not in told.err
    assert told.out == ""


def test_a_full_disk_is_no_bug(capfd: pytest.CaptureFixture[str]) -> None:
    full = errno.ENOSPC, os.strerror(errno.ENOSPC)
    assert run(["fail"], failing(OSError(*full, "/srv/x"))) == 75
    assert run(["fail"], failing(OSError(*full))) == 75
    nowhere = errno.ENOENT, "No usable temporary directory found in ['/tmp']"
    assert run(["fail"], failing(OSError(*nowhere))) == 75
    assert capfd.readouterr().err == (
        "Error: The disk is full: /srv/x cannot be written.\nFree some space, then try again.\n"
        "Error: The disk is full.\nFree some space, then try again.\n"
        "Error: No directory for temporary files can be written.\n"
        "Free some space in /tmp, or name another place by TMPDIR.\n"
    )


@pytest.mark.parametrize(
    "command",
    [
        ["gradebook", "mark", "A1", "alice", "--comment", "gr\udcfcn"],
        ["extension", "add", "A1", "alice", "--until", "2026-12-01", "--reason", "gr\udcfcn"],
    ],
)
def test_a_text_in_another_encoding_is_told_and_is_no_bug(here: Path, command: list[str]) -> None:
    put(here, "alice", None)
    assert "is not UTF-8.\nSet the terminal to UTF-8" in cli("", *command, status=2).err


@pytest.mark.parametrize("command", ["new x", "new .", "https receipt show hw1", "config show"])
def test_a_working_directory_that_was_removed_is_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    told = cli(command, status=2).err
    assert told.startswith("Error: The working directory was removed.\nChange to ")


def test_a_text_that_only_we_could_have_made_stays_a_bug() -> None:
    assert run(["fail"], failing(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"))) == EXIT_BUG


@pytest.mark.parametrize(
    "error", [errno.EACCES, errno.ENOTDIR, errno.EEXIST, errno.EROFS, errno.ENAMETOOLONG]
)
def test_a_file_that_may_not_be_used_is_named_and_is_no_bug(
    error: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["fail"], failing(OSError(error, os.strerror(error), "/srv/x"))) == 2
    assert capfd.readouterr().err.startswith(f"Error: /srv/x cannot be used: {os.strerror(error)}")
    run(["--debug", "fail"], failing(PermissionError(error, "no", "/srv/x")))
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        *("gradebook export A1 -o", "gradebook statistics A1 --csv", "gradebook export-0316"),
        *("gradebook check -C", "hub prune -C", "config show -C", "hub check"),
        *("node run --share", "node run --token-file", "hub check --ca"),
        *("validate --release", "token --secret-file"),
    ],
)
def test_a_path_that_is_empty_is_not_the_working_directory(words: str) -> None:
    """As "$COURSE" is that was never set: nothing is done in some other course instead."""
    assert cli(words, "", status=2).err.endswith(": It is empty.\n")


def test_a_tilde_in_the_path_of_an_option_is_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PATH.convert("~/marks.csv", None, None) == tmp_path / "marks.csv"
    assert PATH.convert("~nobody-here/x", None, None) == Path("~nobody-here/x")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", ["validate", "autograde", "generate", "feedback"])
def test_the_home_of_an_unknown_account_is_no_bug(command: str) -> None:
    assert "~nobody-here/A1.py" in cli(command, "~nobody-here/A1.py", status=2).err


@pytest.mark.parametrize("error", [ZeroDivisionError("detail"), errors.NotFound("detail")])
def test_debug_shows_where_it_failed(
    error: Exception, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["--debug", "fail"], failing(error))
    assert "Traceback" in capfd.readouterr().err
    monkeypatch.setenv("MOGRADER_DEBUG", "1")
    run(["fail"], failing(error))
    assert "Traceback" in capfd.readouterr().err


def test_the_same_bug_has_the_same_reference() -> None:
    def fail(text: str) -> str:
        try:
            raise ValueError(text)
        except ValueError as error:
            return reference(error)

    assert fail("one") == fail("two")
    assert len(fail("one")) == 8


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_ends_quietly_with_130(
    error: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["fail"], failing(error)) == 130
    assert capfd.readouterr().err.strip() == ""


def started_command(hang_up: str = "SIG_DFL") -> subprocess.Popen[str]:
    """Start a command that waits with a temporary directory, whose path it prints.

    ``hang_up`` is what it inherits for SIGHUP; the tests themselves may run below nohup.
    """
    code = f"""
        import signal
        signal.signal(signal.SIGHUP, signal.{hang_up})
        import sys, tempfile, time, click, mograder.cli.main as main
        @click.command()
        def wait():
            with tempfile.TemporaryDirectory() as place:
                try:
                    print(place, flush=True)
                    time.sleep(60)
                finally:
                    print("ending", flush=True)
                    sys.stdin.read()
        run = main.run
        main.run = lambda arguments: run(arguments, wait)
        main.main()
    """
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.full
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_twice_leaves_no_temporary_files(
    first: signal.Signals, second: signal.Signals
) -> None:
    """Closing its terminal left copies of the gradebook."""
    with started_command() as child:
        assert child.stdout is not None
        place = Path(child.stdout.readline().strip())
        assert place.is_dir()
        child.send_signal(first)
        assert child.stdout.readline() == "ending\n"
        child.send_signal(second)
        _, told = child.communicate()  # ends its input
    assert child.returncode == 128 + first
    assert told == "Stopping: temporary files are being removed.\n"
    assert not place.exists()


@pytest.mark.full
def test_a_second_signal_leaves_no_temporary_files_where_the_terminal_is_gone() -> None:
    with started_command() as child:
        assert child.stdout is not None
        assert child.stderr is not None
        place = Path(child.stdout.readline().strip())
        child.stderr.close()
        child.send_signal(signal.SIGHUP)
        assert child.stdout.readline() == "ending\n"
        child.send_signal(signal.SIGHUP)
        child.communicate()
    assert child.returncode == 128 + signal.SIGHUP
    assert not place.exists()


@pytest.mark.full
def test_a_command_under_nohup_outlives_its_terminal() -> None:
    with started_command("SIG_IGN") as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGTERM)
        child.communicate()
    assert child.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (click.ClickException("No."), 1),
        (click.UsageError("No."), 2),
        (click.exceptions.Exit(7), 7),
        (SystemExit(), 0),
        (SystemExit(9), 9),
        (SystemExit("No."), 1),
    ],
)
def test_a_command_may_say_its_status_itself(error: BaseException, status: int) -> None:
    assert run(["fail"], failing(error)) == status


@pytest.mark.parametrize("words", ["nonsense", "--nonsense", "hub --port many"])
def test_a_command_line_that_cannot_be_read_is_a_usage_error(words: str) -> None:
    told = cli(words, status=2).err
    assert "Usage: mograder" in told
    assert "Error: " in told


@pytest.mark.full
def test_no_arguments_show_the_help() -> None:
    done = mograder()
    assert "Commands:" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("arguments", [["--help"], ["config", "show"]])
def test_a_reader_that_leaves_early_is_no_failure_to_talk_about(
    arguments: list[str],
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mograder", *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_details_of_a_command_that_cannot_be_loaded_are_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def load(_: Lazy) -> click.Command:
        raise ImportError("a library of the system is missing")

    monkeypatch.setattr(Lazy, "load", load)
    assert run(["--debug", "config"]) == EXIT_BUG
    assert "a library of the system is missing" in capfd.readouterr().err
    assert run(["config"]) == EXIT_BUG
    assert "a library of the system is missing" not in capfd.readouterr().err


ANYWHERE = [
    *("new", "generate", "quality", "validate", "feedback", "gradebook", "extension"),
    *("similarity", "hub", "token", "moodle", "https", "receipt", "student", "config"),
    "completion",
]
OTHERS = ["autograde", "grader", "serve", "node"]
NAMES = {"windows": "Windows", "macos": "macOS"}


@pytest.mark.full
@SYSTEMS
@pytest.mark.parametrize(
    "command",
    [
        *(*OTHERS, "https export-web"),
        *("hub backup", "hub install", "hub login-link", "hub nodes"),
    ],
)
def test_what_needs_linux_is_refused_elsewhere_in_a_sentence(system: System, command: str) -> None:
    done = OtherSystem(system).ran(*command.split(), "--help", status=78)
    sentence, remedy = done.stderr.splitlines()
    assert sentence == f"Error: mograder {command} runs on Linux only, and this is {NAMES[system]}."
    assert "WSL" in remedy


@pytest.mark.full
@SYSTEMS
def test_the_help_elsewhere_lists_what_runs_there(system: System) -> None:
    done = OtherSystem(system).ran("--help")
    assert done.stderr == ""
    listed = re.findall(r"^  ([a-z][a-z-]+)  +[A-Z]", done.stdout, re.MULTILINE)
    assert listed == ANYWHERE
    others = done.stdout.partition("On Linux only:")[2]
    assert set(OTHERS) < set(re.findall("[a-z-]+", others))


def test_the_help_on_linux_lists_everything() -> None:
    told = cli("--help").out
    assert "On Linux only" not in told
    assert set(re.findall(r"^  ([a-z][a-z-]+)  +[A-Z]", told, re.MULTILINE)) >= {*ANYWHERE, *OTHERS}


@pytest.mark.full
@pytest.mark.parametrize("encoding", ["cp1252", "cp437"])
def test_output_in_any_encoding_is_never_an_error(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text('title = "Analysis Ω → “ß”"\n', encoding="utf-8")
    env = {"PYTHONIOENCODING": encoding}
    shown = mograder("config", "show", "-C", str(tmp_path), **env)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Analysis" in shown.stdout
    as_json = mograder("config", "show", "--json", "-C", str(tmp_path), **env)
    rows = {row["key"]: row["value"] for row in json.loads(as_json.stdout)["settings"]}
    assert rows["title"] == "Analysis Ω → “ß”"
    missing = mograder("config", "show", "-C", str(tmp_path / "Übung Ω"), **env)
    assert missing.returncode == 2
    assert "Traceback" not in missing.stderr


@pytest.mark.parametrize(("words", "meant"), [("genrate", "generate"), ("hub pubish", "publish")])
def test_a_command_that_is_mistyped_is_told_with_a_similar_one(words: str, meant: str) -> None:
    typed = words.rpartition(" ")[2]
    assert cli(words, status=2).err.endswith(f"'{typed}'. Did you mean '{meant}'?\n")
    assert "Did you mean" not in cli("zzz", status=2).err


def test_commands_of_the_hub_stand_in_sections() -> None:
    told = cli("hub --help").out
    headings = ["\nItems:\n", "\nPeople:\n", "\nLooking after a hub:\n"]
    assert [told.count(each) for each in headings] == [1, 1, 1]


@pytest.mark.parametrize(
    ("words", "offered"), [("mograder ge", "generate"), ("mograder hub pu", "publish")]
)
def test_a_shell_is_offered_commands_without_their_import(
    words: str, offered: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "_MOGRADER_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }.items():
        monkeypatch.setenv(name, value)
    assert run([]) == 0
    assert capfd.readouterr().out == f"plain,{offered}\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_what_a_shell_reads(shell: str) -> None:
    assert f"_MOGRADER_COMPLETE={shell}_complete" in cli(f"completion {shell}").out


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_failure_is_red_on_a_terminal_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", coloured := _Terminal())
    run(["fail"], failing(errors.NotFound("It is gone.")))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", plain := _Terminal())
    run(["fail"], failing(errors.NotFound("It is gone.")))
    assert coloured.getvalue() == "\x1b[31mError\x1b[0m: It is gone.\n"
    assert plain.getvalue() == "Error: It is gone.\n"
