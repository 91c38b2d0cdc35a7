"""Releases: the files of one, and the lines of the guides that cite one."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from mograder import __version__
from scripts import release
from scripts.gen_install_lines import (
    CHANGE_LOG,
    Section,
    citing,
    mistakes,
    newest_release,
    pages,
    sections,
)
from scripts.release import (
    Refused,
    build,
    copy_tracked,
    exported_parts,
    list_of_parts,
    main,
    notes,
    with_date,
)

LOG = "# Changes\n\n## 1.1.0 - unreleased\n\n- New.\n\n## 1.0.0 - 2026-12-01\n\n- First.\n"
NEWEST = newest_release(CHANGE_LOG.read_text("utf-8"))


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.name)
def test_a_page_cites_the_newest_release_and_its_wheel(page: Path) -> None:
    assert list(mistakes(page.read_text("utf-8"), NEWEST)) == []


def test_the_readme_says_how_to_install_from_the_wheel_and_that_another_name_is_not_ours() -> None:
    first = (CHANGE_LOG.parent / "README.md").read_text("utf-8")[:1500]
    assert f"pip install ./mograder_hub-{NEWEST}-py3-none-any.whl" in first
    assert "`pip install mograder` is something else" in first


@pytest.mark.parametrize(
    "line",
    [
        "pip install './mograder_hub-0.9.0-py3-none-any.whl[server]'",
        "pip install './mograder-1.0.0-py3-none-any.whl[server]'",
        "see dist/mograder_hub-1.0.0-py2.py3-none-any.whl",
        'uvx --from "mograder @ https://course.example.org/client/a/x.whl" mograder student',
        "uv pip install mograder[server] @ git+https://example.org/mograder",
        "git checkout v1.0",
        "/opt/mograder/own-0.9.0/bin/mograder hub install",
        "docker push registry.example.edu/mograder:1.0.1",
        "mograder = { url = 'https://…/mograder-0.9.0+runtime.0123abcd-py3-none-any.whl' }",
        "get it by `pip install mograder`",
        "```console\n$ pip install -U 'mograder-hub[server]'\n```",
        "```console\n$ uv tool install mograder  # the students' commands\n```",
    ],
)
def test_a_line_that_cites_what_does_not_exist_is_found(line: str) -> None:
    assert list(mistakes(line, "1.0.0"))


@pytest.mark.parametrize(
    "line",
    [
        "pip install './mograder_hub-1.0.0-py3-none-any.whl[server]'",
        "a file mograder_hub-VERSION-py3-none-any.whl",
        'uvx --from "mograder-hub @ https://h/a/mograder_hub-1.0.0-py3-none-any.whl" mograder',
        "`pip install mograder` is something else",
        "```console\n# apt-get install bubblewrap  # for mograder\n```",
    ],
)
def test_a_line_that_is_right_passes(line: str) -> None:
    assert list(mistakes(line, "1.0.0")) == []


def test_the_lines_are_written_from_the_version() -> None:
    before = (
        "own-1.0.0/bin/pip install './mograder_hub-1.0.0-py3-none-any.whl' `v1.0.0` 10.1.0.0/16"
    )
    after = "own-1.1.0/bin/pip install './mograder_hub-1.1.0-py3-none-any.whl' `v1.1.0` 10.1.0.0/16"
    assert citing(before, "1.1.0") == after
    assert list(mistakes(after, "1.1.0")) == []


def test_guides_cite_the_newest_release_that_is_out() -> None:
    assert newest_release(LOG) == "1.0.0"
    assert newest_release(LOG.replace("unreleased", "2027-02-03")) == "1.1.0"
    assert newest_release("## 1.0.0 - unreleased\n\n- First.\n") == "1.0.0"


def test_the_program_has_the_version_that_the_change_log_is_about() -> None:
    first = sections(CHANGE_LOG.read_text("utf-8"))[0]
    assert Version(__version__).base_version == first.version
    assert Version(__version__).is_devrelease == (first.date == "unreleased")


def test_a_release_gets_its_date_once() -> None:
    dated = with_date(LOG, "1.1.0", "2027-02-03")
    assert sections(dated)[0] == Section("1.1.0", "2027-02-03", "- New.")
    assert with_date(dated, "1.1.0", "2027-03-04") == dated


@pytest.mark.parametrize(
    ("log", "version"),
    [
        (LOG, "1.0.0"),
        (LOG, "1.2.0"),
        (LOG.replace("- New.\n", ""), "1.1.0"),
        (LOG.replace("- New.\n", "### For students\n"), "1.1.0"),
        ("# Changes", "1.0.0"),
    ],
)
def test_a_version_that_the_change_log_does_not_begin_with_is_refused(
    log: str, version: str
) -> None:
    with pytest.raises(Refused, match=rf"section '## {version} - unreleased'"):
        with_date(log, version, "2027-02-03")


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ([], 2, "Say which version: make release VERSION="),
        (["1.0"], 1, "'1.0' is no version of a release"),
        (["1.0.0.dev0"], 1, "'1.0.0.dev0' is no version of a release"),
    ],
)
def test_what_is_no_version_of_a_release_is_refused(
    arguments: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    assert told in capsys.readouterr().err


def test_a_fault_on_the_way_does_not_ask_for_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> Path:
        raise ValueError("day is out of range for month")

    monkeypatch.setattr(release, "_make", fail)
    with pytest.raises(ValueError, match="out of range"):
        main(["1.1.0"])


def test_the_notes_are_the_change_logs_and_say_how_to_install() -> None:
    text = notes(Section("1.1.0", "2027-02-03", "### For students\n\n- New."))
    assert "### For students\n\n- New.\n" in text
    assert "sha256sum --check" in text
    assert list(mistakes(text, "1.1.0")) == []


def test_the_notes_link_to_no_file_of_the_checkout() -> None:
    """On the page of a release such a link leads nowhere."""
    text = notes(Section("1.1.0", "2027-02-03", "[A](docs/a.md#b), [B](https://b.example/)."))
    assert "\n\nA (`docs/a.md#b`), [B](https://b.example/).\n" in text


def test_the_list_of_parts_is_the_same_for_the_same_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"a wheel")
    section = Section("1.1.0", "2027-02-03", "- New.")
    first, again = (list_of_parts(_parts(serial), section, wheel) for serial in ("a", "b"))
    assert first == again
    assert first["metadata"]["component"]["version"] == "1.1.0"
    assert first["components"] == [{"name": "click"}]


def _parts(serial: str) -> dict[str, Any]:
    about = {"timestamp": serial, "component": {"name": "mograder-hub"}}
    return {"serialNumber": serial, "metadata": about, "components": [{"name": "click"}]}


@pytest.mark.full
def test_the_same_files_make_the_same_bytes_with_all_licences_and_nothing_else(
    tmp_path: Path,
) -> None:
    first, again = (
        build(copy_tracked(tmp_path / name), tmp_path / f"{name}-out", 1_800_000_000)
        for name in ("one", "other")
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    archive, wheel = sorted(first, key=lambda path: path.suffix)
    with tarfile.open(archive) as packed:
        tops = {name.split("/")[1] for name in packed.getnames()}
    with zipfile.ZipFile(wheel) as packed_wheel:
        inside = {name.partition(".dist-info/")[2] for name in packed_wheel.namelist()}
    assert tops == {
        *("src", "deploy", "scripts", "LICENSE", "LICENSES", "README.md", "CHANGELOG.md"),
        *("pyproject.toml", "PKG-INFO", ".gitignore"),
    }
    assert {f"licenses/{name}" for name in ("LICENSE", "LICENSES/Apache-2.0.txt")} <= inside


@pytest.mark.full
def test_uv_lists_the_parts_with_their_hashes() -> None:
    names = {each["name"] for each in exported_parts()["components"]}
    assert {"marimo", "sqlalchemy", "psycopg"} <= names
    assert not {"pytest", "ruff", "hatchling"} & names
