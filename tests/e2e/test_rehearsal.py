"""A rehearsal on a real hub: real sandboxes, real marimo, and nothing left, also after a crash."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import MOGRADER, Answer, HubProcess, outside, run_mograder
from tests.support.identity import SECRET, instructor_token
from tests.support.shared_hub import TINY, SharedCaches, until
from tests.support.shipped_hub import shipped_hub

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@pytest.fixture
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    """A hub whose supervisor is a service, so that sessions outlive it."""
    settings = {"limits.warm_environments": 8}
    with shipped_hub("rehearsal", caches, settings) as (hub, _):
        yield hub


def token(hub: HubProcess) -> dict[str, str]:
    """The environment of an instructor's command."""
    return {
        "MOGRADER_HUB_URL": hub.url,
        "MOGRADER_HUB_INSTRUCTOR_TOKEN": instructor_token(SECRET),
    }


def rehearse(hub: HubProcess, *options: str) -> Answer:
    return run_mograder("hub", "rehearse", TINY, *options, env=token(hub), cwd=hub.course.parent)


def folders(hub: HubProcess) -> list[str]:
    """The folders of a rehearsal's users."""
    root = hub.course / "hub-notebooks"
    return [each.name for each in root.iterdir() if "rehearsal" in each.name]


def sockets(hub: HubProcess) -> list[Path]:
    """The sockets of all sessions."""
    while True:
        with contextlib.suppress(FileNotFoundError):  # a directory was removed meanwhile
            return list((hub.course.parent / "run" / "s").rglob("*.sock"))


def test_all_students_run_all_cells_and_nothing_but_what_it_took_is_left(
    hub: HubProcess,
) -> None:
    done = rehearse(hub, "--students", "3", "--within", "0", "--json")
    assert done.status == 0, done.errors
    told = json.loads(done.output)
    assert (told["finished"], told["failures"], told["errors"]) == (3, {}, 0)
    assert 0 < told["started"]["median"] <= told["first_output"]["median"]
    assert told["first_output"]["median"] <= told["all_cells"]["worst"]
    assert told["memory_together"] >= told["memory_each"] > 10 << 20
    assert told["holds"] >= told["holds_now"] > 3
    assert (folders(hub), sockets(hub)) == ([], [])
    done = rehearse(hub, "--students", "1", "--within", "0")
    first, second, *lines = done.output.splitlines()
    assert first.startswith(f"{TINY}: 1 students within 0 s. This takes about ")
    assert "1 of 1 fit." in first
    assert second.startswith("1 of 1 ran all cells")
    assert lines[0].startswith("  until the session answers")
    assert lines[1].startswith("  until the first output")
    assert rehearse(hub, "--cancel").output == "No rehearsal runs.\n"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_ending_the_command_ends_the_rehearsal(hub: HubProcess, ending: signal.Signals) -> None:
    command = [str(MOGRADER), "hub", "rehearse", TINY, "--students", "40", "--within", "60"]
    env = {**outside(), "HOME": str(hub.course.parent), **token(hub)}
    with subprocess.Popen(command, env=env, cwd=hub.course.parent) as process:
        until(lambda: bool(sockets(hub)), 120)
        process.send_signal(ending)
        process.wait(60)
    until(lambda: not sockets(hub) and not folders(hub), 120)
    if ending is signal.SIGINT:
        assert process.returncode not in {0, None}


def test_the_next_hub_removes_what_a_killed_one_left(hub: HubProcess) -> None:
    command = [str(MOGRADER), "hub", "rehearse", TINY, "--students", "40", "--within", "60"]
    env = {**outside(), "HOME": str(hub.course.parent), **token(hub)}
    with subprocess.Popen(command, env=env, cwd=hub.course.parent) as process:
        until(lambda: bool(sockets(hub)), 120)
        hub.kill()
        process.wait(60)
    assert folders(hub)
    hub.restart()
    until(lambda: not sockets(hub) and not folders(hub), 120)
