"""Notebooks of students that a hub refuses (B133; compatibility-0.3.16.md 2.3, 7)."""

from __future__ import annotations

import httpx
import pytest

from mograder.notebook.source.release import make_release, with_submit_cells
from tests.support.hub_app import NOTEBOOK, Hub, HubOf
from tests.support.hub_copies import WORK, ask, begin, folder, send

SOURCE = NOTEBOOK.replace("1 + 1", "### BEGIN SOLUTION\n    x = 1\n    ### END SOLUTION")
TO_DO = "    # YOUR CODE HERE\n    pass\n"
REFUSED = (400, "Unsafe code: denied import: os (line 8)")


def write(code: str) -> str:
    """Return a notebook whose only cell has this code."""
    return NOTEBOOK.replace("1 + 1", code)


def put_release(hub: Hub, text: str) -> str:
    """Let this be what the course handed out."""
    (hub.course / "hub-release" / "A1" / "A1.py").write_text(text)
    return text


def released() -> str:
    """A release with the form that submits, which imports ``os`` (compatibility-0.3.16.md 7)."""
    source = with_submit_cells(SOURCE, url="https://example.org", assignment="A1")
    made = make_release(source, filename="A1.py", assignment="A1")
    assert made is not None
    assert "import os as _os" in made.text
    assert TO_DO in made.text
    return made.text


def told(response: httpx.Response) -> tuple[int, str]:
    """The status, and what was found, without the advice."""
    detail = str(response.json().get("detail", ""))
    return response.status_code, detail.partition(". Do without")[0]


async def test_b133_denied_code_is_refused_with_the_line_of_each_finding(hub: Hub) -> None:
    await begin(hub)
    response = await send(hub, write("import os\n    eval('1')"))
    findings = "denied import: os (line 8); denied builtin call: eval (line 9)"
    assert told(response) == (400, f"Unsafe code: {findings}")
    assert "ask your instructor" in response.json()["detail"]
    assert (folder(hub) / "A1.py").read_text() == WORK


async def test_b133_the_form_that_was_handed_out_may_import_what_students_may_not(
    hub: Hub,
) -> None:
    release = put_release(hub, released())
    assert (await send(hub, release)).status_code == 200
    own = release.replace(TO_DO, "    import os\n    x = os.getuid()\n")
    status, detail = told(await send(hub, own))
    line = own[: own.index("    import os\n")].count("\n") + 1
    assert (status, detail) == (400, f"Unsafe code: denied import: os (line {line})")


@pytest.mark.full
async def test_b133_a_large_notebook_is_screened_the_same_way(hub: Hub) -> None:
    """It is looked at in a process of its own, with the release and the settings at hand."""
    data = "# " + "x" * 40_000 + "\n"
    release = put_release(hub, released() + data)
    assert (await send(hub, release)).status_code == 200
    status, detail = told(await send(hub, release.replace(TO_DO, "    import socket\n")))
    assert (status, detail[:36]) == (400, "Unsafe code: denied import: socket (")


async def test_b133_without_a_release_nothing_is_excused(hub: Hub) -> None:
    """What a student's own header says of its cells is the student's word."""
    status, detail = told(await send(hub, released(), "/upload/alice/own"))
    assert (status, detail[:32]) == (400, "Unsafe code: denied import: os (")


async def test_b133_a_release_that_nobody_can_read_excuses_nothing(hub: Hub) -> None:
    release = hub.course / "hub-release" / "A1" / "A1.py"
    release.write_bytes(write("import os").encode("utf-16"))
    assert told(await send(hub, write("import os"))) == REFUSED
    assert (await send(hub, WORK)).status_code == 200


@pytest.mark.parametrize(
    ("settings", "code", "found"),
    [
        ('allow_imports = ["os"]', "import os", ""),
        ('allow_imports = ["os"]', "import os, sys", "denied import: sys"),
        ('allow_calls = ["eval"]', "eval('1')", ""),
        ('deny_imports = ["sklearn"]', "from sklearn.svm import SVC", "denied import: sklearn"),
        ('deny_calls = ["sum"]', "sum([1])", "denied builtin call: sum"),
        ('deny_imports = ["os"]\nallow_imports = ["os"]', "import os", "denied import: os"),
    ],
)
async def test_b133_the_course_says_what_its_students_may_use(
    hub_of: HubOf, settings: str, code: str, found: str
) -> None:
    wanted = (400, f"Unsafe code: {found} (line 8)") if found else (200, "")
    assert told(await send(hub_of(f"[safety]\n{settings}\n"), write(code))) == wanted


@pytest.mark.parametrize(
    ("level", "answer"), [("refuse", REFUSED), ("warn", (200, "")), ("off", (200, ""))]
)
async def test_b133_the_course_decides_what_becomes_of_denied_code(
    hub_of: HubOf, level: str, answer: tuple[int, str]
) -> None:
    made = hub_of(f'[security]\nsafety_scan = "{level}"\n')
    assert told(await send(made, write("import os"))) == answer


@pytest.mark.parametrize(("level", "lines"), [("refuse", 1), ("warn", 2), ("off", 0)])
async def test_b133_who_waits_is_told_each_finding_as_it_is_made(
    hub_of: HubOf, level: str, lines: int
) -> None:
    made = hub_of(f'[security]\nsafety_scan = "{level}"\n')
    code = "import os" if level == "refuse" else "import os; eval('1')"
    stream = {"Accept": "application/x-ndjson"}
    files = {"file": ("A1.py", write(code).encode())}
    answer = await ask(made, "POST", "/upload/alice/A1", files=files, headers=stream)
    assert answer.text.count('"message": "A1.py:8: denied ') == lines, answer.text


UNPARSABLE = NOTEBOOK.replace("@app.cell\ndef _():\n    1 + 1\n    return", "{}").format(
    'app._unparsable_cell(\n    r"""\n    x = = 1\n    """,\n    name="_"\n)'
)
ANOTHER_PYTHON = '# /// script\n# requires-python = ">=3.99"\n# ///\n' + write("x = = 1")


@pytest.mark.parametrize("work", [UNPARSABLE, ANOTHER_PYTHON], ids=["a cell", "another python"])
async def test_b133_work_that_nobody_can_check_is_taken_and_told(hub: Hub, work: str) -> None:
    await begin(hub)
    stream = {"Accept": "application/x-ndjson"}
    files = {"file": ("A1.py", work.encode())}
    answer = await ask(hub, "POST", "/upload/alice/A1", files=files, headers=stream)
    assert "cannot be checked" in answer.text
    assert '"status": "ok"' in answer.text
    assert (folder(hub) / "A1.py").read_text() == work
