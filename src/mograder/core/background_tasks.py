"""Background tasks with an owner that keeps them: the event loop refers to tasks weakly."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundTasks:
    """The tasks of one owner, which closes them at its end; for one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task, and keep it until it has ended."""
        return self.keep(asyncio.get_running_loop().create_task(work))

    def keep(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """Keep a task until it has ended."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> tuple[asyncio.Task[Any], ...]:
        """Cancel the tasks; return those that have not ended yet."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    async def close(self) -> None:
        """Cancel the tasks, and wait until they have ended."""
        await asyncio.gather(*self.cancel(), return_exceptions=True)

    async def wait(self) -> None:
        """Wait until the tasks have ended. Raises: the first error of one."""
        await asyncio.gather(*self._tasks)
