"""Docs and code agree: commands, settings, routes, libraries, names of modules, links."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement

from mograder.cli.main import root
from mograder.core.sections.settings_layers import KEYS, note_on
from mograder.core.sections.settings_model import NO_EFFECT
from mograder.core.settings import load_settings
from mograder.core.wheel import PROGRAM
from mograder.publishing.schedule import parse_schedule
from mograder.store.gradebook.gradebook_0316 import metadata as metadata_0316
from mograder.store.gradebook.gradebook_tables import metadata
from mograder.web.hub.app import OPTIONAL, ROUTES
from mograder.web.route import Access
from tests.contract.doc_references import Documentation, prose
from tests.support.command_line import cli
from tests.support.settings_reads import keys_read

pytestmark = pytest.mark.full

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


def _page(path: str) -> str:
    return (DOCS / path).read_text("utf-8")


@pytest.mark.parametrize("page", ["cli", "settings"])
def test_a_generated_page_is_what_the_code_says(page: str) -> None:
    """In a fresh interpreter: click keeps a command's help option from its first use on."""
    command = [sys.executable, "-m", f"scripts.gen_{page}_reference", "--check"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_reference_of_settings_names_every_variable_that_is_read() -> None:
    code = REPOSITORY / "src" / "mograder"
    texts = [(code / name).read_text("utf-8") for name in ("core/settings.py", "cli/main.py")]
    variables = set(re.findall(r'"(MOGRADER_[A-Z_]*[A-Z]|PORT)"', "\n".join(texts)))
    assert len(variables) > 20
    assert variables <= set(re.findall(r"`([A-Z_]+)`", _page("reference/settings.md")))


def test_the_reference_of_files_names_every_table_of_the_gradebook() -> None:
    rows = re.findall(
        r"^\| (`.+?) \| ", _page("reference/files.md").partition("The gradebook")[2], re.MULTILINE
    )
    named = {name for cell in rows for name in re.findall(r"`(\w+)`", cell)}
    assert {*metadata.tables, *metadata_0316.tables} == named - {"alembic_version"}


WHO = {
    Access.ANYONE: "anyone",
    Access.GUEST: "anyone",
    Access.MEMBER: "signed in",
    Access.OWNER: "owner, instructor",
    Access.SELF: "owner",
    Access.VISITOR: "owner, instructor, helper",
    Access.HELPED: "owner, instructor, helper",
    Access.MARKER: "marker, instructor",
    Access.HELPER: "marker, instructor",
    Access.INSTRUCTOR: "instructor",
    Access.METRICS: "instructor, or a metrics token",
}


def test_the_map_of_the_api_names_every_route_and_its_true_access() -> None:
    page = _page("reference/http-api.md")
    mapped = {
        (method, path): who
        for cell, who in re.findall(r"^\| (`[A-Z]+ [^|]*) \| ([^|]+) \|", page, re.MULTILINE)
        for method, path in re.findall(r"`([A-Z]+) ([^`]+)`", cell)
    }
    # "/edit/{a}/" is "/edit/{a}" with the slash that 0.3.16 also answered.
    routes = {
        (route.method, route.path.replace(":path}", "}").rstrip("/") or "/"): WHO[route.access]
        for route in (*ROUTES, *(each for make in OPTIONAL.values() for each in make().routes))
    }
    assert mapped == routes


def test_every_attempt_on_marks_has_its_tests() -> None:
    rows = re.findall(
        r"^\| (\d+) \| [^|]+ \| [^|]+ \| (.+) \|$", _page("explanation/marking.md"), re.MULTILINE
    )
    assert [int(number) for number, _ in rows] == list(range(1, 56))
    missing = [
        (number, path)
        for number, tests in rows
        for path in re.findall(r"`([^`]+)`", tests)
        if not re.search(rf'"{number} |def test_(?:\d+_)*{number}_', _with_cases(path))
    ]
    assert missing == []


def _with_cases(path: str) -> str:
    """Return the text of a module of tests, and of the one beside it that has its cases."""
    module = REPOSITORY / path
    cases = module.with_name(module.name.removeprefix("test_"))
    return module.read_text("utf-8") + (cases.read_text("utf-8") if cases.exists() else "")


def test_every_library_was_chosen_in_a_decision() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    wanted = [*project["project"]["dependencies"]]
    wanted += [text for group in (*extras, *groups) for text in group]
    table = re.findall(r"^\| ([\w., -]+) \| \[", _page("decisions/index.md"), re.MULTILINE)
    chosen = {name.strip() for cell in table for name in cell.split(",")}
    assert {Requirement(text).name for text in wanted} - {PROGRAM} == chosen


_STATUS = re.compile(
    r"# (?P<title>\d+\. .+)\n\n\*\*Status:\*\* (?P<date>\d{4}-\d\d-\d\d), "
    r"(?P<status>accepted|revoked|replaced(?: in part)? by \[\d+\]\(\d{4}-[\w-]+\.md\))\.\n\n"
)


def test_every_decision_has_a_date_and_a_status_and_the_index_shows_both() -> None:
    rows = []
    for page in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        found = _STATUS.match(page.read_text("utf-8"))
        assert found, f"{page.name} has no status below its title"
        rows.append(f"| [{found['title']}]({page.name}) | {found['date']} | {found['status']} |")
    assert re.findall(r"^\| \[\d+\. .*$", _page("decisions/index.md"), re.MULTILINE) == rows


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_a_page_names_only_modules_and_files_that_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"`((?:[a-z_-]+/)+(?:[\w.-]+\.(?:py|js|sh|toml))?)`", text)
    rooms = REPOSITORY / "src" / "mograder"
    known = (REPOSITORY, rooms, rooms / "web" / "hub")
    missing = [
        name
        for name in named
        if not name.startswith(_NOT_OURS) and not any((base / name).exists() for base in known)
    ]
    assert not missing, f"{page.name} names what is not there: {missing}"


_NOT_OURS = (
    "hub-",
    "source/",
    "release/",
    "submitted/",
    "autograded/",
    "feedback/",
    "public/",
    "layouts/",
    "data/",
    "venv/",
    "workspace",
    "examples/",
    "edit/",
    "run/",
)
"""Beginnings of paths in a course, or of a URL."""


def test_every_setting_is_read_or_marked_and_none_is_both() -> None:
    read = keys_read()
    assert {key for key in KEYS if key in read and note_on(key)} == set()
    assert {key for key in KEYS if key not in read and not note_on(key)} == set()


def test_every_marked_setting_is_marked_where_settings_are_shown(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text("[penalties]\nenabled = true\n")
    marked = [key for key in KEYS if note_on(key)]
    shown = cli("config show -C", str(tmp_path)).lines
    lines = {line.split()[0]: line for line in shown if not line.startswith("#")}
    assert [key for key, line in lines.items() if f"({NO_EFFECT})" in line] == marked
    listed = cli("config show --json -C", str(tmp_path)).json["settings"]
    assert [each["key"] for each in listed if each["note"]] == marked
    assert _page("reference/settings.md").count(f"| *{NO_EFFECT}*") == len(marked)


_TOML = re.compile(r"^ *```toml\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_the_settings_that_a_page_shows_are_taken(page: Path, tmp_path: Path) -> None:
    """A hub does not start with a key that is not known, or that is in another table."""
    for table in map(textwrap.dedent, _TOML.findall(page.read_text("utf-8"))):
        if "[weeks]" in table:
            assert parse_schedule(table, page.name).opens
        elif "[tool.mograder]" not in table:  # which is in the header of a notebook
            (tmp_path / "mograder.toml").write_text(table, "utf-8")
            load_settings(tmp_path, environ={})


_PROSE = sorted([*DOCS.rglob("*.md"), REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md"])
_NOT_YET = "not there yet"


@pytest.mark.parametrize("page", _PROSE, ids=lambda path: path.name)
def test_a_page_names_only_commands_that_exist_or_are_marked(page: Path) -> None:
    """A command that does not exist stands in a paragraph that says "not there yet"."""
    for paragraph in page.read_text("utf-8").split("\n\n"):
        named = [*_command_names(paragraph)]
        unknown = [name for name in named if not _is_command(name.split())]
        assert not unknown or _NOT_YET in paragraph, f"{page.name} names no command: {unknown}"


def _command_names(text: str) -> Iterator[str]:
    """The words after ``mograder``: in code within a line (it may be wrapped), and as commands."""
    for code in re.findall(r"`(mograder\s[^`]*)`", text):
        yield from re.findall(r"^mograder((?:\s+[a-z][a-z0-9-]+)+)", code)
    yield from re.findall(r"^(?:\$ |\S*/)?mograder((?: [a-z][a-z0-9-]+)+)", text, re.MULTILINE)


def _is_command(words: list[str]) -> bool:
    command: click.Command | None = root
    for word in words:
        if not isinstance(command, click.Group):
            return True  # what follows is an argument
        command = command.get_command(click.Context(command), word)
    return command is not None


_DOCUMENTATION = Documentation.of(REPOSITORY)
_CODE = ("src", "tests", "bench", "scripts", "deploy")
_SKIPPED = ("data", "__pycache__")
_ROLE = re.compile(r":(?:mod|class|func|meth|data|attr|exc):`~?(mograder[.\w]*|\.[.\w]+)`")


def test_every_reference_in_a_comment_or_docstring_leads_somewhere() -> None:
    """Sections, decisions and promises exist; issues and absent documents are not named."""
    files = (path for top in _CODE for path in (REPOSITORY / top).rglob("*") if path.is_file())
    missing = [
        f"{path.relative_to(REPOSITORY)}: {reference}"
        for path in sorted(files)
        if not set(path.parts) & set(_SKIPPED)
        for text in prose(path)
        for reference in _DOCUMENTATION.nowhere(text)
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ('as security.md, "The sandbox" says; B22-B26, decision 34', []),
        ("compatibility-0.3.16.md 2.3, 7 and 10", []),
        ("see docs/explanation/limits.md. mo.md(text)", []),
        ("golang/go issue 40747", []),
        ('security.md, "The sandbox" and "Nothing"', ["security.md Nothing"]),
        ("compatibility-0.3.16.md 2.3, 12", ["compatibility-0.3.16.md 12"]),
        ("compat.md 4, B300", ["compat.md", "B300"]),
        ("decision 999", ["decision 999"]),
        ("as issue 7 wants", ["issue 7"]),
        ('"Done when" 2', ['Done when" 2']),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(text: str, missing: list[str]) -> None:
    assert list(_DOCUMENTATION.nowhere(text)) == missing


def test_every_module_named_in_a_docstring_exists() -> None:
    """For references such as ``:mod:`.idle_culler```, which outlive a renamed module otherwise."""
    lost = [
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in sorted((REPOSITORY / "src").rglob("*.py"))
        for name in _ROLE.findall(path.read_text("utf-8"))
        if not _names_a_module(path, name)
    ]
    assert lost == []


def _names_a_module(path: Path, name: str) -> bool:
    """Whether a dotted name is of a module or in one; a dot before it means the file's package."""
    here = path.parent if name.startswith(".") else REPOSITORY / "src"
    place = here.joinpath(*name.removeprefix(".").split("."))
    inside = (each.with_suffix(".py") for each in (place, *place.parents) if here in each.parents)
    return place.is_dir() or any(each.is_file() for each in inside)


def test_each_how_to_names_the_systems_that_it_holds_for() -> None:
    pages = sorted((DOCS / "how-to").glob("*.md"))
    assert [page.name for page in pages if "\n\n**Systems:** " not in page.read_text("utf-8")] == []


def test_one_how_to_names_the_program_before_this_one() -> None:
    """The others lead to it; what is kept is in the reference."""
    pages = [*(DOCS / "how-to").glob("*.md"), *(DOCS / "explanation").glob("*.md")]
    pages += [*(DOCS / "tutorial").glob("*.md"), DOCS / "index.md", REPOSITORY / "README.md"]
    texts = {page.name: re.sub(r"\]\([^)]*\)", "]", page.read_text("utf-8")) for page in pages}
    assert [name for name, text in texts.items() if "0.3.16" in text] == ["move-from-0.3.16.md"]


@pytest.mark.parametrize("path", ["docs/index.md", "mkdocs.yml"])
def test_each_how_to_can_be_found_and_those_that_an_instructor_begins_with_come_first(
    path: str,
) -> None:
    pages = {page.name for page in (DOCS / "how-to").glob("*.md")}
    linked = re.findall(r"\bhow-to/([\w.-]+\.md)", (REPOSITORY / path).read_text("utf-8"))
    assert linked[:2] == ["write-an-assignment.md", "run-a-course.md"]
    assert pages - {*linked} == set()
