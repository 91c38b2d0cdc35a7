"""The JSON of the routes about rehearsals."""

from __future__ import annotations

from mograder.web.hub.core.models import Body, Done


class RehearsalPlan(Body):
    """What is known before a rehearsal: memory in bytes, ``seconds`` about how long it takes.

    ``memory_each`` is what a session will probably use; ``fits`` of the students there is memory
    for. ``running``: one runs at this hub at the moment.
    """

    item: str
    students: int
    memory_each: int
    memory_total: int
    memory_used: int
    fits: int
    seconds: float
    running: bool


class Durations(Body):
    """Seconds from the request to open the notebook, over all students of a rehearsal."""

    median: float
    p95: float
    worst: float


class Rehearsed(Done):
    """The result of a rehearsal of an item; memory is in bytes, times are in seconds.

    Of ``students`` so many ``finished`` all cells (``warm`` of them started warm), ``failed``
    (``failures``: how many for each reason), would ``wait`` in line because no memory was left, or
    ``gave_way`` to students. ``memory_each`` is the median of a session's largest use,
    ``memory_together`` the largest sum. ``holds`` is how many such sessions the memory for all is
    enough for if nothing else runs, ``holds_now`` beside what runs. ``errors`` is how many cells
    ended with an error, in the median notebook.
    """

    item: str
    students: int
    finished: int
    warm: int
    failed: int
    failures: dict[str, int]
    wait: int
    gave_way: int
    started: Durations | None
    first_output: Durations | None
    all_cells: Durations | None
    memory_each: int
    memory_largest: int
    memory_together: int
    memory_total: int
    holds: int
    holds_now: int
    errors: int
    seconds: float


class RehearsalCancelled(Done):
    """The rehearsal has ended and is removed; ``cancelled`` is whether there was one."""

    cancelled: bool
