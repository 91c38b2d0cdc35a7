"""The hub's side of publishing: check, prepare, then replace, in this order (B95, B96)."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, MograderError, RemoteFailed, TooLarge
from mograder.core.names import ItemName
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.pep723 import Script
from mograder.publishing.publish import publish_release
from mograder.store.releases.releases import ItemKind, Release, Releases

A1 = ItemName.parse("A1")
NOTEBOOK = """\
# /// script
# dependencies = ["marimo", "numpy"]
# ///

import marimo

app = marimo.App()


@app.cell
def _():
    return


if __name__ == "__main__":
    app.run()
"""
LECTURE = NOTEBOOK.replace("# ///\n\n", '# mograder-type = "lecture"\n# ///\n\n')


class Environments:
    """Prepares nothing, records requests, fails if configured."""

    def __init__(self, failure: MograderError | None = None) -> None:
        self.asked: list[Script] = []
        self._failure = failure

    async def prepare(self, script: Script, progress: Callable[[str], None], /) -> None:
        self.asked.append(script)
        progress("Resolved 12 packages")
        if self._failure:
            raise self._failure


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path / "hub-release")


async def publish(
    releases: Releases,
    notebook: bytes | str,
    *,
    kind: ItemKind | None = None,
    environments: Environments | None = None,
    told: list[str] | None = None,
    filename: str = "A1.py",
) -> Release:
    content = notebook.encode() if isinstance(notebook, str) else notebook
    with releases.stage(A1) as staged:
        staged.add(filename, io.BytesIO(content))
        return await publish_release(
            releases=releases,
            environments=environments or Environments(),
            name=A1,
            kind=kind,
            staged=staged,
            progress=(told if told is not None else []).append,
        )


async def test_a_sound_notebook_becomes_the_release(releases: Releases) -> None:
    environments, told = Environments(), list[str]()
    release = await publish(releases, NOTEBOOK, environments=environments, told=told)
    assert release.kind is ItemKind.ASSIGNMENT
    assert release.notebook.read_text() == NOTEBOOK
    assert [script.dependencies for script in environments.asked] == [("marimo", "numpy")]
    assert told == ["Preparing the environment…", "Resolved 12 packages"]


@pytest.mark.parametrize(
    ("notebook", "given", "expected"),
    [
        (NOTEBOOK, None, ItemKind.ASSIGNMENT),
        (LECTURE, None, ItemKind.LECTURE),
        (LECTURE, ItemKind.DEMO, ItemKind.DEMO),
        (NOTEBOOK, ItemKind.LECTURE, ItemKind.LECTURE),
    ],
)
async def test_the_publishers_word_comes_before_the_notebooks(
    releases: Releases, notebook: str, given: ItemKind | None, expected: ItemKind
) -> None:
    """B90, B91, B95."""
    assert (await publish(releases, notebook, kind=given)).kind is expected


async def test_a_change_of_kind_is_said(releases: Releases) -> None:
    await publish(releases, NOTEBOOK)
    told: list[str] = []
    await publish(releases, LECTURE, told=told)
    assert told[0] == "A1 was published as assignment and becomes lecture."


@pytest.mark.parametrize(
    ("notebook", "message"),
    [
        (NOTEBOOK.replace("return", "return = 1"), r"^A1\.py:12: invalid syntax"),
        ("print('hello')\n", r"^A1\.py:1: this is not a marimo notebook"),
        (NOTEBOOK.replace('"numpy"]', '"num py"]'), r"^A1\.py, line 2: 'num py' is not"),
        (
            NOTEBOOK.replace("# ///\n\n", "# [tool.mograder]\n# allow = ['shell']\n# ///\n\n"),
            r"^A1\.py, line 4: allow 'shell'",
        ),
        (
            NOTEBOOK.replace("# ///\n\n", "# [tool.mograder.limits]\n# tmp_mb = 0\n# ///\n\n"),
            r"^A1\.py, line 4: tmp_mb in .* at least 1",
        ),
        (NOTEBOOK.encode().replace(b"_()", b"_\xff()"), r"^A1\.py:11: the file is not UTF-8"),
    ],
    ids=["syntax", "script", "header", "allow", "limits", "latin-1"],
)
async def test_a_broken_notebook_leaves_the_old_release_and_builds_nothing(
    releases: Releases, notebook: bytes | str, message: str
) -> None:
    before = await publish(releases, NOTEBOOK)
    environments = Environments()
    with pytest.raises(InvalidInput, match=message):
        await publish(releases, notebook, environments=environments)
    assert releases.get(A1) == before
    assert environments.asked == []


async def test_a_broken_requirement_tells_the_installers_words_and_leaves_the_old_release(
    releases: Releases,
) -> None:
    """B96."""
    before = await publish(releases, NOTEBOOK)
    words = "No solution found when resolving dependencies:\n  Because nunpy was not found"
    environments = Environments(RemoteFailed(words))
    with pytest.raises(RemoteFailed) as failed:
        await publish(releases, LECTURE, environments=environments)
    assert failed.value.message == words
    assert releases.get(A1) == before
    assert before.notebook.read_text() == NOTEBOOK


async def test_an_upload_without_the_items_notebook_is_refused(releases: Releases) -> None:
    with pytest.raises(InvalidInput, match=r"The upload holds no A1\.py"):
        await publish(releases, NOTEBOOK, filename="other.py")
    assert releases.get(A1) is None


async def test_a_notebook_has_a_bound(releases: Releases) -> None:
    with pytest.raises(TooLarge, match="larger than 16 MB"):
        await publish(releases, NOTEBOOK + "#" * MAX_NOTEBOOK)


async def test_a_new_name_that_some_students_could_not_store_is_refused(releases: Releases) -> None:
    await publish(releases, NOTEBOOK)
    with releases.stage(ItemName.parse("a1")) as staged:
        staged.add("a1.py", io.BytesIO(NOTEBOOK.encode()))
        with pytest.raises(InvalidInput, match="there is 'A1' already"):
            await publish_release(
                releases=releases,
                environments=Environments(),
                name=ItemName.parse("a1"),
                kind=None,
                staged=staged,
                progress=lambda _: None,
            )


async def test_a_new_file_is_refused_and_a_published_one_is_warned_of(releases: Releases) -> None:
    async def publish_with(told: list[str], *names: str) -> Release:
        with releases.stage(A1) as staged:
            for name in ("A1.py", *names):
                staged.add(name, io.BytesIO(NOTEBOOK.encode()))
            return await publish_release(
                releases=releases,
                environments=Environments(),
                name=A1,
                kind=None,
                staged=staged,
                progress=told.append,
            )

    with pytest.raises(InvalidInput, match=r"aux\.csv: Windows reserves the name AUX") as caught:
        await publish_with([], "aux.csv")
    assert caught.value.hint.startswith("Rename it")
    assert releases.get(A1) is None
    with releases.stage(A1) as staged:  # published before there was this rule
        for name in ("A1.py", "aux.csv"):
            staged.add(name, io.BytesIO(NOTEBOOK.encode()))
        staged.commit(ItemKind.ASSIGNMENT)
    told: list[str] = []
    await publish_with(told, "aux.csv")
    assert "Warning: aux.csv: Windows reserves the name AUX for a device." in told
