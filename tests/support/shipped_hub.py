"""A hub as it is shipped: the supervisor is a service of its own and outlives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.course import log_place, put_release, work_place
from tests.support.hub import MOGRADER, HubConfig, HubProcess, outside, write_settings
from tests.support.process import StartedServer
from tests.support.shared_hub import TINY, SharedCaches, notebook, start, stop


class SupervisorProcess(StartedServer):
    """``mograder hub supervisor`` on a course; use it as a context manager."""

    def __init__(self, course: Path, log: Path, socket: Path) -> None:
        super().__init__("mograder hub supervisor", log)
        self.course = course
        self._socket = socket

    def start(self) -> None:
        """Start it and wait until it answers."""
        home = self.course.parent / "home"
        home.mkdir(exist_ok=True)
        command = [str(MOGRADER), "hub", "supervisor", "-C", str(self.course)]
        self.launch(command, {**outside(), "HOME": str(home)}, self.course)
        self.wait_until(self._socket.is_socket, 60)


@contextmanager
def shipped_hub(
    name: str, shared: SharedCaches, settings: Mapping[str, object]
) -> Iterator[tuple[HubProcess, SupervisorProcess]]:
    """A supervisor as a service and a hub that uses it, with a tiny assignment."""
    logs = log_place()
    with ExitStack() as stack:
        place = stack.enter_context(work_place())
        course = place / "c"
        course.mkdir()
        put_release(course, TINY, notebook())
        runtime = {
            "hub.runtime_dir": str(place / "run"),
            "hub.supervisor_socket": str(place / "run" / "supervisor.sock"),
        }
        whole = {**shared.settings(), **runtime, **settings}
        write_settings(course, whole)
        for log in ("hub", "supervisor"):
            (logs / f"{name}-{log}.log").unlink(missing_ok=True)
        socket = place / "run" / "supervisor.sock"
        supervisor = SupervisorProcess(course, logs / f"{name}-supervisor.log", socket)
        stack.callback(supervisor.stop)
        supervisor.start()
        hub = HubProcess(course, logs / f"{name}-hub.log", HubConfig(settings=whole))
        stack.enter_context(hub)
        start(hub, "first")
        stop(hub, "first")
        yield hub, supervisor
