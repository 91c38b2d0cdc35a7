"""Validating on a real hub: from a workspace, beside an open editor, into the old clients' answer.

B55, B119; compatibility-0.3.16.md 2.3 and 2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import student
from tests.support.shared_hub import notebook, start, workspace

pytestmark = pytest.mark.full

ITEM = "V1-Validate"
CELLS = """from mograder.runtime import Grader
    import os
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 4}
    check = Grader(_marks).check
    return check, os


@app.cell
def _():
    # YOUR CODE HERE
    x = ...
    return (x,)


@app.cell
def _(check, x):
    check("Q1: one", [] if x is ... else [(x == 1, "not one")])
    return


@app.cell
def _(os):
    mine = os.getuid(), sorted(os.listdir())
    print(mine)
    return

"""
TEXT = notebook("").replace("    return\n", f"    {CELLS}", 1)


@pytest.fixture(scope="module")
def hub(shared_hub: HubProcess) -> HubProcess:
    put_release(shared_hub.course, ITEM, TEXT)
    return shared_hub


def validate(hub: HubProcess, user: str) -> Mapping[str, object]:
    with hub.client(student(user)) as client:
        answer = client.post(f"/validate/{user}/{ITEM}")
    assert answer.status_code == httpx.codes.OK, answer.text
    told: Mapping[str, object] = answer.json()
    return told


def statuses(told: Mapping[str, object]) -> list[str]:
    checks = told["checks"]
    assert isinstance(checks, list)
    return [each["status"] for each in checks]


def solve(hub: HubProcess, user: str, answer: str) -> None:
    """Save another answer, as the student's editor would."""
    (workspace(hub, user, ITEM) / f"{ITEM}.py").write_text(TEXT.replace("x = ...", answer))


def test_students_validate_beside_their_editors_and_each_learns_their_own(
    hub: HubProcess, fresh_name: Callable[[str], str]
) -> None:
    ann, bob = fresh_name("ann"), fresh_name("bob")
    for user in (ann, bob):
        start(hub, user, ITEM)
    assert statuses(validate(hub, ann)) == ["warn"]
    solve(hub, ann, "x = 1")
    solve(hub, bob, "x = 2")
    before = (workspace(hub, bob, ITEM) / f"{ITEM}.py").read_bytes()
    with ThreadPoolExecutor() as pool:
        anns, bobs = pool.map(lambda user: validate(hub, user), (ann, bob))
    assert (statuses(anns), anns["export_ok"], anns["integrity_level"]) == (
        ["success"],
        True,
        "source",
    )
    assert statuses(bobs) == ["danger"]
    assert (workspace(hub, bob, ITEM) / f"{ITEM}.py").read_bytes() == before
    with hub.client(student(ann)) as client:
        assert [each["assignment"] for each in client.get("/sessions").json()] == [ITEM]
    assert list((hub.course / ".mograder" / "copies").iterdir()) == []


def test_who_crashes_is_told_so_and_the_hub_goes_on(
    hub: HubProcess, fresh_name: Callable[[str], str]
) -> None:
    eve = fresh_name("eve")
    start(hub, eve, ITEM)
    solve(hub, eve, "import os as o; x = o._exit(0)")
    told = validate(hub, eve)
    assert (told["export_ok"], statuses(told)) == (False, ["warn"])
    assert "before its last cell" in str(told["export_error"])
    assert hub.healthy()
