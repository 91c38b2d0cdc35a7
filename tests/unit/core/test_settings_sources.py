"""Where settings are found and what else the environment gives: B73, compatibility-0.3.16.md 6."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.settings import FILE_NAME, load_settings, read_environ, runtime_dir
from tests.unit.core.conftest import Load, Refusal


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("[hub\nport = 1", ":1:5:"),
        ("[hub]\nport = ", ":2:8:"),
        ("[hub]\nport = 1\nport = 2", ":3:9:"),
        ('title = "open', ":1:14:"),
    ],
)
def test_malformed_toml_is_refused_with_file_line_and_column(
    refusal: Refusal, tmp_path: Path, text: str, position: str
) -> None:
    assert refusal(text).startswith(f"{tmp_path / FILE_NAME}{position}")


def test_a_file_that_is_not_text_is_refused_with_its_place(
    refusal: Refusal, tmp_path: Path
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"title = 'a'\nx = '\xff'\n")
    assert f"{FILE_NAME}:2:6: not UTF-8" in refusal()


def test_a_byte_order_mark_is_no_mistake(load: Load) -> None:
    assert load("\ufefftitle = 'T'").settings.title == "T"


def test_deep_nesting_is_refused_and_not_a_crash(refusal: Refusal) -> None:
    assert FILE_NAME in refusal("x = " + "[" * 100_000)


def test_what_is_no_regular_file_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.mkdir()
    assert "not a regular file" in refusal()
    file.rmdir()
    os.mkfifo(file)
    assert "not a regular file" in refusal()
    file.unlink()
    file.symlink_to("nowhere")
    assert "symbolic link" in refusal()
    file.unlink()
    file.symlink_to(FILE_NAME)
    assert "cannot be read" in refusal()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused_and_not_ignored(
    load: Load, refusal: Refusal, tmp_path: Path
) -> None:
    load("title = 'T'")
    (tmp_path / FILE_NAME).chmod(0)
    assert "cannot be read: Permission denied" in refusal()


def test_b73_the_course_is_found_by_option_then_variable_then_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("option", "variable", "here"):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE_NAME).write_text(f"title = '{name}'", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "here")
    environ = {"MOGRADER_COURSE_DIR": str(tmp_path / "variable")}
    assert load_settings(tmp_path / "option", environ=environ).settings.title == "option"
    assert load_settings(environ=environ).settings.title == "variable"
    found = load_settings(environ={})
    assert found.settings.title == "here"
    assert found.course_dir == (tmp_path / "here").resolve()
    assert load_settings(Path(), environ=environ).settings.title == "here"


def test_a_missing_course_directory_is_refused_with_where_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--course-dir"):
        load_settings(tmp_path / "missing", environ={})
    with pytest.raises(InvalidInput, match="MOGRADER_COURSE_DIR"):
        load_settings(environ={"MOGRADER_COURSE_DIR": str(tmp_path / "missing")})
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="not a directory"):
        load_settings(tmp_path / "file", environ={})


def test_paths_are_relative_to_the_course_and_expand_the_home(load: Load, tmp_path: Path) -> None:
    loaded = load()
    assert loaded.path("hub-release") == tmp_path.resolve() / "hub-release"
    assert loaded.path("/srv/x") == Path("/srv/x")
    assert loaded.path("~/x") == Path.home() / "x"
    with pytest.raises(InvalidInput):
        loaded.path("~no-such-user-here/x")


def test_the_environment_gives_credentials_and_what_builds_need(tmp_path: Path) -> None:
    environ = read_environ(
        {
            "MOGRADER_HUB_SECRET": "s3cret",
            "MOGRADER_HUB_URL": "https://hub.example.net",
            "MOGRADER_HUB_INSTRUCTOR_TOKEN": " ",
            "MOGRADER_COURSE_DIR": str(tmp_path),
            "RUNTIME_DIRECTORY": "/run/mograder:/run/other",
            "XDG_RUNTIME_DIR": "relative",
            "HOME": "/home/hub",
            "PATH": "/usr/bin",
            "UV_INDEX_URL": "https://index.example.net/simple",
            "UV_CACHE_DIR": "/x",
            "UV_PROJECT_ENVIRONMENT": "/y",
            "https_proxy": "http://proxy:3128",
            "NO_PROXY": "localhost",
            "SSL_CERT_FILE": "/ca.pem",
            "EDITOR": "vi",
        }
    )
    assert environ.hub_secret is not None
    assert environ.hub_secret.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(environ)
    assert environ.hub_instructor_token is None
    assert (environ.hub_url, environ.course_dir) == ("https://hub.example.net", tmp_path)
    assert (environ.runtime_directory, environ.xdg_runtime_dir) == (Path("/run/mograder"), None)
    assert (environ.home, environ.path) == (Path("/home/hub"), "/usr/bin")
    assert set(environ.build) == {"UV_INDEX_URL", "https_proxy", "NO_PROXY", "SSL_CERT_FILE"}


def test_the_runtime_directory_is_configured_or_given_or_short_and_of_this_course(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load()
    given_one = read_environ({"RUNTIME_DIRECTORY": "/run/mograder"})
    assert runtime_dir(load("[hub]\nruntime_dir = 'run'"), given_one) == tmp_path.resolve() / "run"
    assert runtime_dir(loaded, given_one) == Path("/run/mograder")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    as_root = runtime_dir(loaded, read_environ({"XDG_RUNTIME_DIR": "/run/user/0"}))
    assert as_root.parent == Path("/run")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert runtime_dir(loaded, read_environ({"XDG_RUNTIME_DIR": "/run/user/1000"})) == Path(
        f"/run/user/1000/{as_root.name}"
    )
    fallback = runtime_dir(loaded, read_environ({}))
    assert fallback == Path(f"/tmp/mograder-1000-{as_root.name.removeprefix('mograder-')}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("title = 'T'\n\n[hub]\nport = 1\nprot = 2\n", ":5: hub.prot is not"),
        ("[hub]\ninstructors = ['ann', 3]", ":2: hub.instructors.1 must be text"),
        ("[items.'Week 1']\n\n[items.'Week 1'.limits]\nmemory = 'x'", ":4: items."),
        ("[[assignments]]\nname = 'A1'\n[[assignments]]\nname = 2", ":4: assignments.1.name"),
        ("hub = { prot = 1 }", ":1: hub.prot is not"),
        ("# hub\n\n[hubb]\nport = 1", ":3: hubb is not"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(
    refusal: Refusal, tmp_path: Path, text: str, place: str
) -> None:
    assert refusal(text).startswith(f"{tmp_path / FILE_NAME}{place}")


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in a course's sources, as the working directory."""
    (tmp_path / FILE_NAME).write_text("title = 'T'", encoding="utf-8")
    folder = tmp_path / "source" / "A1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_a_course_is_found_from_a_folder_in_it(below: Path, tmp_path: Path) -> None:
    assert load_settings(environ={}).course_dir == tmp_path
    assert load_settings(below, environ={}).course_dir == below


def test_a_working_directory_that_was_removed_is_told(below: Path) -> None:
    below.rmdir()
    with pytest.raises(InvalidInput, match=r"The working directory was removed\."):
        load_settings(environ={})


def test_a_working_directory_that_may_not_be_searched_is_told(
    below: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `sudo -u mograder` in a private home without -C."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InvalidInput, match="You may not look into the working directory") as told:
        load_settings(environ={})
    assert "-C DIRECTORY" in told.value.hint
    assert load_settings(below, environ={}).course_dir == below


def test_a_directory_where_a_hub_has_run_is_a_course_without_a_file(below: Path) -> None:
    (below / ".mograder").mkdir()
    assert load_settings(environ={}).course_dir == below


@pytest.mark.parametrize("kept", ["release", "seen"])
def test_a_directory_that_an_assignment_was_fetched_into_is_none(
    below: Path, tmp_path: Path, kept: str
) -> None:
    (below / ".mograder" / kept).mkdir(parents=True)
    assert load_settings(environ={}).course_dir == tmp_path


def test_what_another_user_may_have_put_above_is_no_course(below: Path, tmp_path: Path) -> None:
    """Its settings name the servers that tokens are sent to."""
    if os.geteuid() != 0:
        pytest.skip("gives a file to another user")
    os.chown(tmp_path / FILE_NAME, 12345, -1)
    assert load_settings(environ={}).course_dir == below


@pytest.mark.parametrize(("mode", "uid"), [(0o1777, 0), (0o2775, 12345)])
def test_a_course_that_colleagues_share_is_one_from_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, uid: int
) -> None:
    _own_file(tmp_path, monkeypatch, mode, uid)
    assert load_settings(environ={}).course_dir == tmp_path


@pytest.mark.parametrize("state", [False, True])
def test_settings_that_anybody_may_have_put_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: bool
) -> None:
    """As in /tmp: such a file named the server that a Moodle token went to."""
    _own_file(tmp_path, monkeypatch, 0o1777, 12345)
    if state:
        (tmp_path / ".mograder").mkdir()
    with pytest.raises(InvalidInput, match="another user's, where everybody can write") as told:
        load_settings(environ={})
    assert "-C DIRECTORY" in told.value.hint
    assert load_settings(tmp_path, environ={}).course_dir == tmp_path


def _own_file(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, uid: int) -> None:
    """Make the working directory a course whose file of settings belongs to a user."""
    if os.geteuid() != 0:
        pytest.skip("gives a file to another user")
    (folder / FILE_NAME).write_text("title = 'T'", encoding="utf-8")
    os.chown(folder / FILE_NAME, uid, -1)
    folder.chmod(mode)
    monkeypatch.chdir(folder)


def test_the_variables_of_a_node_are_read(tmp_path: Path) -> None:
    (tmp_path / "node-token").write_text(" a-token\n")
    node = read_environ(
        {
            "HOME": "/home/node",
            "CREDENTIALS_DIRECTORY": str(tmp_path),
            "MOGRADER_NODE_SHARE": "/srv/a:/srv/b",
            "MOGRADER_NODE_NAME": "n1",
            "MOGRADER_NODE_HUB": "https://hub.example.edu",
            "MOGRADER_NODE_MEMORY_MB": "4096",
            "MOGRADER_NODE_DRAIN_SECONDS": "1.5",
        }
    ).node
    assert node.shares == (Path("/srv/a"), Path("/srv/b"))
    assert node.state == Path("/home/node/.local/state/mograder-node")
    assert (node.name, node.memory_mb, node.drain_seconds) == ("n1", 4096, 1.5)
    assert node.hub == "https://hub.example.edu"
    assert node.token is not None
    assert node.token.get_secret_value() == "a-token"
    assert "a-token" not in repr(node)


def test_a_file_with_the_tokens_of_many_nodes_is_read_whole(tmp_path: Path) -> None:
    lines = "\n".join(f"node-{number:04} token" for number in range(2000))
    (tmp_path / "node-token").write_text(lines)
    node = read_environ({"CREDENTIALS_DIRECTORY": str(tmp_path)}).node
    assert node.token is not None
    assert node.token.get_secret_value() == lines


def test_a_nodes_directory_of_systemd_is_taken_unless_one_is_named() -> None:
    given = {"STATE_DIRECTORY": "/var/lib/mograder-node", "MOGRADER_NODE_TOKEN": "t"}
    assert read_environ(given).node.state == Path("/var/lib/mograder-node")
    named = {**given, "MOGRADER_NODE_STATE": "/srv/node"}
    assert read_environ(named).node.state == Path("/srv/node")
    assert read_environ({}).node.token is None
    assert read_environ({}).node.name


@pytest.mark.parametrize("text", ["many", "-1", "inf", "nan"])
def test_a_nodes_variable_that_is_no_number_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="MOGRADER_NODE_MEMORY_MB"):
        read_environ({"MOGRADER_NODE_MEMORY_MB": text})
