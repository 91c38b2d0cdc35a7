"""``mograder hub publish`` against a hub that a test scripts.

B86-B99, compatibility-0.3.16.md 10.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.command_line import cli
from tests.support.fake_hub import NDJSON, FakeHub, Reply

TOKEN = "ann:0123"
DONE = {"event": "done", "status": "ok", "files": ["A1-Intro.py"], "type": "assignment"}
UNVERIFIED = """\
Error: No Moodle URL configured, so the release cannot be compared with what Moodle hands out.
Nothing was sent. Use --force to publish without comparing with Moodle, or set [moodle] url in
mograder.toml or MOGRADER_MOODLE_URL. (--url is the hub's address.)
"""


@pytest.fixture(autouse=True)
def course(here: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course with an assignment and a lecture; the environment names the hub and the token."""
    for name, kind in (("A1-Intro", ""), ("L01-Lines", '# mograder-type = "lecture"\n')):
        directory = here / "release" / name
        directory.mkdir(parents=True)
        (directory / f"{name}.py").write_text(
            f"# /// script\n# x = 1\n{kind}# ///\nimport marimo\n"
        )
        (directory / "data.csv").write_text("1,2\n")
    (here / "release" / "A1-Intro" / "A1-Intro.html").write_text("<html>")
    monkeypatch.setenv("MOGRADER_HUB_URL", hub.url)
    monkeypatch.setenv("MOGRADER_HUB_INSTRUCTOR_TOKEN", TOKEN)
    return here


def test_publish_sends_the_release_and_follows_its_environment(hub: FakeHub, course: Path) -> None:
    """B87, B92, B94, B96, B97, B98, B128."""
    release = course / "release" / "A1-Intro"
    with (release / "A1-Intro.py").open("ab") as notebook:
        notebook.write(b"# \xc3\xa9\r\n")
    (release / "data.csv").write_bytes(bytes(range(256)) * 1000)
    hub.streams(
        "/publish/A1-Intro",
        {"event": "progress", "message": "Received 2 files"},
        {"event": "progress", "message": "Received 2 files"},
        {"event": "progress", "message": "Installing [numpy]"},
        {"event": "something-new"},
        DONE,
    )
    told = cli("hub publish A1 --force")
    assert told.out == (
        "Assignment: A1-Intro\n"
        "Local files: A1-Intro.py, data.csv\n"
        "Left out: A1-Intro.html (a preview or an archive)\n"
        "Published 2 files to hub.\n"
    )
    assert told.err == "  Sending the files…\n  Received 2 files\n  Installing [numpy]\n"
    (request,) = hub.received
    assert request.files == {
        name: (release / name).read_bytes() for name in ("A1-Intro.py", "data.csv")
    }
    assert request.query == "type=assignment"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept"] == NDJSON


UV = [
    "Downloading and installing packages",
    *("Using CPython 3.11.2", "Creating virtual environment at: env"),
    *(
        "Resolved 2 packages in 12ms",
        "Downloading numpy (16.0MiB)",
        "Bytecode compiled 3453 files in 1m 42s",
    ),
    *("+ numpy==2.1.0", "+ mograder-runtime==1.0 (from file:///build/mograder.whl)"),
    "Warming up",
]


@pytest.mark.parametrize("verbose", [False, True])
def test_packages_are_one_line_unless_all_are_asked_for(hub: FakeHub, verbose: bool) -> None:
    hub.streams("/publish/A1-Intro", *({"event": "progress", "message": each} for each in UV), DONE)
    told = cli("hub publish A1 --force", *["-v"][:verbose]).err.splitlines()
    quiet = [UV[0], "2 packages, 0 s", UV[-1]]
    assert told == [f"  {each}" for each in ("Sending the files…", *(UV if verbose else quiet))]


DETECTED = "Auto-detected lecture from mograder-type metadata."


@pytest.mark.parametrize(
    ("arguments", "name", "kind", "detected"),
    [
        pytest.param(["L01-Lines"], "L01-Lines", "lecture", True, id="by its header"),
        pytest.param(
            ["release/A1-Intro", "--lecture"], "A1-Intro", "lecture", False, id="by option"
        ),
        pytest.param(["A1", "--demo"], "A1-Intro", "demo", False, id="a demo"),
    ],
)
def test_a_lecture_or_a_demo_is_published_as_one_and_needs_no_force(
    hub: FakeHub, arguments: list[str], name: str, kind: str, detected: bool
) -> None:
    """B90, B91, B93, B113; compatibility-0.3.16.md 11."""
    hub.streams(f"/publish/{name}", {**DONE, "type": kind})
    lines = cli("hub publish", *arguments).lines
    assert lines[:2] == [f"{kind.capitalize()}: {name}", f"Local files: {name}.py, data.csv"]
    assert (DETECTED in lines) is detected
    assert hub.received[0].query == f"type={kind}"


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ("[moodle]\ncourse_id = 3\n", []),
        ("[moodle]\ncourse_id = 3\n", ["--dry-run"]),
        ('transport = "moodle"\n', []),
        ('[[assignments]]\nname = "A1. Intro"\nid = 4\ncmid = 7\n', []),
        ("", ["--moodle-assignment", "A1. Intro"]),
    ],
)
def test_in_a_course_on_moodle_an_assignment_without_force_is_not_sent(
    course: Path, hub: FakeHub, settings: str, more: list[str]
) -> None:
    """B86, B89: what cannot be compared with Moodle is not sent."""
    (course / "mograder.toml").write_text(settings)
    assert cli("hub publish A1", *more, status=1).err == UNVERIFIED
    assert hub.received == []


@pytest.mark.parametrize(
    "settings",
    ["", 'transport = "https"\n', '[[assignments]]\nname = "A1"\nduedate = 1795176000\n'],
)
def test_a_course_that_is_not_on_moodle_needs_no_force(
    course: Path, hub: FakeHub, settings: str
) -> None:
    """B86 has nothing to compare with where nothing in the settings is of a Moodle."""
    (course / "mograder.toml").write_text(settings)
    hub.streams("/publish/A1-Intro", DONE)
    assert "not on Moodle" in cli("hub publish A1").out


def test_a_dry_run_tells_what_would_go_and_needs_no_hub(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B88, B99."""
    monkeypatch.delenv("MOGRADER_HUB_URL")
    monkeypatch.delenv("MOGRADER_HUB_INSTRUCTOR_TOKEN")
    told = cli("hub publish A1 --force --dry-run")
    assert told.lines[-1] == "Dry run — not publishing."
    assert told.err == ""
    assert hub.received == []


NO_TOKEN = "--token required (or set MOGRADER_HUB_INSTRUCTOR_TOKEN)\n"
NO_HUB = "--url or --ssh required (or set MOGRADER_HUB_URL)\n"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (["INSTRUCTOR_TOKEN"], NO_TOKEN),
        (["URL"], NO_HUB),
        (["INSTRUCTOR_TOKEN", "URL"], NO_TOKEN + NO_HUB),
    ],
)
def test_without_a_hub_or_a_token_nothing_is_sent(
    hub: FakeHub, variables: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """compatibility-0.3.16.md 10: the messages are fixed."""
    for each in variables:
        monkeypatch.delenv(f"MOGRADER_HUB_{each}")
    assert cli("hub publish A1 --force", status=1).err == f"Error: {message}"
    assert hub.received == []


def test_commands_that_it_names_can_be_typed_as_they_are(hub: FakeHub, course: Path) -> None:
    """Assignments of a Moodle are called so."""
    name = "A2. Sums"
    (course / "release" / name).mkdir()
    (course / "release" / name / f"{name}.py").write_text("import marimo\n")
    hub.streams("/publish/A2.%20Sums", {**DONE, "copies": 2})
    told = cli("hub publish A2 --force").out
    assert "Published 1 files to hub.\n" in told
    assert f"mograder hub update '{name}' --preview" in told


def test_options_win_over_variables(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """B97, B98."""
    monkeypatch.setenv("MOGRADER_HUB_URL", "http://127.0.0.1:1")
    hub.streams("/live/hub/publish/A1-Intro", DONE)
    options = ["--url", f"{hub.url}/live/hub/", "--token", "eve:9", "--force"]
    cli("hub publish A1", *options)
    assert hub.received[0].headers["authorization"] == "Bearer eve:9"


@pytest.mark.parametrize(
    ("more", "warms"), [([], ["/publish/A1-Intro", "/warm-cache"]), (["--no-warm"], [])]
)
def test_a_hub_of_0_3_16_is_asked_to_warm_its_cache(
    hub: FakeHub, more: list[str], warms: list[str]
) -> None:
    """B96, compatibility-0.3.16.md 10."""
    hub.answers("/publish/A1-Intro", status="ok", files=["A1-Intro.py"], type="assignment")
    hub.answers("/warm-cache", status="ok", warmed=["A1-Intro", "L01-Lines"])
    out = cli("hub publish A1 --force", *more).out
    said = "Warming uv cache...\nWarmed 2 notebooks: A1-Intro, L01-Lines\n"
    assert out.endswith(f"Published 2 files to hub.\n{said if warms else ''}")
    assert [request.path for request in hub.received] == (warms or ["/publish/A1-Intro"])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("B", "Error: There is no release 'B' in "),
        ("no/such", "Error: no/such is not a directory.\n"),
        ("release", "has no notebook release.py."),
    ],
)
def test_what_cannot_be_found_ends_with_1(argument: str, message: str) -> None:
    """compatibility-0.3.16.md 7: `hub publish` errors are rc 1."""
    assert message in cli("hub publish", argument, "--force", status=1).err


def test_names_are_looked_up_where_the_course_keeps_its_releases(
    course: Path, hub: FakeHub, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`[dirs] release`, with -C before or after the command."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mograder.toml").write_text("[dirs]\nrelease = 'out'\n")
    (course / "release").rename(elsewhere / "out")
    hub.streams("/publish/A1-Intro", DONE)
    cli("hub publish A1 --force -C", str(elsewhere))
    cli("hub -C", str(elsewhere), "publish", "A1", "--force")


def test_json_is_all_that_a_script_reads(hub: FakeHub) -> None:
    hub.streams("/publish/A1-Intro", {"event": "progress", "message": "x"}, DONE)
    expected = {
        "name": "A1-Intro",
        "type": "assignment",
        "files": ["A1-Intro.py", "data.csv"],
        "left_out": ["A1-Intro.html"],
        "python": "",
        "advice": [],
        "left_out_reasons": {"A1-Intro.html": "a preview or an archive"},
        "new": ["A1-Intro.py", "data.csv"],
        "changed": [],
        "unchanged": [],
        "removed": [],
        "type_before": None,
        "source": "none",
    }
    for more, published in (["--dry-run"], False), ([], True):
        told = cli("hub publish A1 --force --json", *more)
        assert told.json == {**expected, "published": published}
        assert told.err == ""


def holds(hub: FakeHub, course: Path, kind: str = "assignment", **other: bytes) -> None:
    """Have the hub hold the release A1-Intro as it lies here, but for these files."""
    release = course / "release" / "A1-Intro"
    files = {name: (release / name).read_bytes() for name in ("A1-Intro.py", "data.csv")}
    changed = {name.replace("_", "."): content for name, content in other.items()}
    digests = {
        name: hashlib.sha256(content).hexdigest() for name, content in {**files, **changed}.items()
    }
    hub.answers("/release/A1-Intro", status="ok", files=digests, type=kind)


def test_publishing_the_same_again_does_nothing_and_says_so(hub: FakeHub, course: Path) -> None:
    holds(hub, course)
    printed = cli("hub publish A1 --force")
    assert printed.out.endswith(
        "data.csv\nLeft out: A1-Intro.html (a preview or an archive)\nUnchanged; nothing to do.\n"
    )
    assert "Unchanged: the hub holds exactly this.\n" in cli("hub publish A1 --force --dry-run").out
    assert hub.received == []


def test_again_sends_what_the_hub_holds_already(hub: FakeHub, course: Path) -> None:
    holds(hub, course)
    hub.streams("/publish/A1-Intro", DONE)
    cli("hub publish A1 --force --again")
    assert len(hub.received) == 1


@pytest.mark.parametrize(
    ("kind", "other"),
    [("lecture", {}), ("assignment", {"data_csv": b"old"}), ("assignment", {"x_txt": b""})],
)
def test_any_difference_is_sent(
    hub: FakeHub, course: Path, kind: str, other: dict[str, bytes]
) -> None:
    """A changed file, one that is to go, another type."""
    holds(hub, course, kind, **other)
    hub.streams("/publish/A1-Intro", DONE)
    cli("hub publish A1 --force")
    assert len(hub.received) == 1


def test_a_dry_run_tells_exactly_what_would_change_on_the_hub(hub: FakeHub, course: Path) -> None:
    """B88, B99."""
    (course / "release" / "A1-Intro" / "new.txt").write_text("new")
    holds(hub, course, "lecture", data_csv=b"old", gone_txt=b"")
    printed = cli("hub publish A1 --force --dry-run")
    assert printed.lines[3:] == [
        "  type: lecture becomes assignment",
        "  new: new.txt",
        "  changed: data.csv",
        "  unchanged: A1-Intro.py",
        "  removed: gone.txt",
        "Dry run — not publishing.",
    ]
    told = cli("hub publish A1 --force --dry-run --json").json
    assert (told["type_before"], told["type"]) == ("lecture", "assignment")
    assert hub.received == []


def test_a_hub_of_0_3_16_is_asked_for_each_file(hub: FakeHub, course: Path) -> None:
    """It cannot tell what it holds besides, so what is the same is sent again."""
    hub.replies["/release/A1-Intro/data.csv"] = Reply(200, b"1,2\n", "text/csv")
    out = cli("hub publish A1 --force --dry-run").out
    assert "  new: A1-Intro.py\n  unchanged: data.csv\n" in out
    assert "does not tell which of its files would be removed" in out


def test_an_item_is_not_a_lecture_and_a_demo(hub: FakeHub) -> None:
    cli("hub publish A1 --demo --lecture", status=2)
    assert hub.received == []


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"most_mb": 1, "most_files": 200}, "The release has 1.9 MB, and the hub takes 1 MB."),
        ({"most_mb": 100, "most_files": 1}, "The release has 3 files, and the hub takes 1."),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_release_too_large_for_the_hub_is_not_sent(
    hub: FakeHub, course: Path, limits: dict[str, int], told: str, more: list[str]
) -> None:
    hub.answers("/release/A1-Intro", files={}, type=None, **limits)
    (course / "release/A1-Intro/large.bin").write_bytes(bytes(2_000_000))
    said = cli("hub publish A1 --force", *more, status=2).err
    assert told in said
    assert "Nothing was sent." in said
    assert hub.received == []


def test_imports_that_nothing_declares_and_the_wanted_python_are_told(
    hub: FakeHub, course: Path
) -> None:
    header = '# /// script\n# requires-python = ">=3.11"\n# dependencies = ["marimo"]\n# ///\n'
    notebook = course / "release/A1-Intro/A1-Intro.py"
    notebook.write_text(header + "import marimo\nimport pandas as pd\n")
    told = cli("hub publish A1 --force --dry-run")
    assert "Python: >=3.11\n" in told.out
    assert "Warning: A1-Intro.py:6: 'pandas' is imported, and the notebook's header" in told.err
    assert '"marimo", "pandas"' in told.err


def test_a_markdown_notebook_is_told_to_be_converted(course: Path) -> None:
    (course / "release/md").mkdir()
    (course / "release/md/md.md").write_text("---\nmarimo-version: 0.25.2\n---\n")
    assert "`marimo convert md.md -o md.py`" in cli("hub publish release/md --force", status=1).err


@pytest.fixture
def source(course: Path) -> Path:
    """The source of A1-Intro, with a file of hidden tests and a preview beside it."""
    directory = course / "source" / "A1-Intro"
    directory.mkdir(parents=True)
    (directory / "A1-Intro.py").write_text("import marimo\n")
    (directory / "truth.csv").write_text("1\n")
    (directory / "A1-Intro.html").write_text("<html>")
    return directory


def _holds(hub: FakeHub, files: dict[str, str], **more: object) -> None:
    held = {"status": "ok", "files": files, "own": False, "most_mb": 100, "most_files": 200}
    hub.answers("/source/A1-Intro", **{**held, **more})


def test_the_source_is_sent_after_the_release(hub: FakeHub, source: Path) -> None:
    hub.streams("/publish/A1-Intro", DONE)
    _holds(hub, {})
    printed = cli("hub publish A1 --force")
    release, sent = hub.received
    assert release.path == "/publish/A1-Intro"
    assert (sent.path, set(sent.files)) == ("/source/A1-Intro", {"A1-Intro.py", "truth.csv"})
    assert sent.files["A1-Intro.py"] == (source / "A1-Intro.py").read_bytes()
    assert printed.out.endswith("Sent the source, for grading on the hub: A1-Intro.py, truth.csv\n")


def test_a_source_that_is_sent_alone_leaves_a_word_about_the_release(
    hub: FakeHub, course: Path, source: Path
) -> None:
    holds(hub, course)
    _holds(hub, {})
    told = cli("hub publish A1 --force").out
    assert told.endswith("truth.csv\nThe release is unchanged.\n")


@pytest.mark.parametrize("answer", ["old", "own"])
def test_a_hub_that_takes_no_source_gets_none(hub: FakeHub, source: Path, answer: str) -> None:
    """0.3.16's hub has no such route."""
    hub.streams("/publish/A1-Intro", DONE)
    if answer == "own":
        _holds(hub, {}, own=True)
    cli("hub publish A1 --force")
    assert [each.path for each in hub.received] == ["/publish/A1-Intro"]
    assert source.is_dir()


def test_a_source_that_the_hub_has_is_not_sent_again(hub: FakeHub, source: Path) -> None:
    hub.streams("/publish/A1-Intro", DONE)
    names = ("A1-Intro.py", "truth.csv")
    _holds(hub, {name: hashlib.sha256((source / name).read_bytes()).hexdigest() for name in names})
    printed = cli("hub publish A1 --force --json")
    assert [each.path for each in hub.received] == ["/publish/A1-Intro"]
    assert printed.json["source"] == "unchanged"


@pytest.mark.parametrize("more", [["--no-source"], ["--lecture"], ["--dry-run"]])
def test_a_source_stays_here_if_it_is_to_stay(hub: FakeHub, source: Path, more: list[str]) -> None:
    hub.streams("/publish/A1-Intro", DONE)
    _holds(hub, {})
    printed = cli("hub publish A1 --force", *more)
    assert "/source/A1-Intro" not in {each.path for each in hub.received}
    told = "Source: would be sent (A1-Intro.py, truth.csv)." in printed.out
    assert told == (more == ["--dry-run"])
    assert source.is_dir()
