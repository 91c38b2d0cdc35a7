"""The processes of a hub's sandboxes by their uids.

Where the hub is root each student's sandbox has a uid of its own, which identifies its
processes, however they were started and after their parents have ended.
"""

from __future__ import annotations

import contextlib

import psutil

from tests.support.hub import HubProcess

FIRST_UID = 600_000
"""The default of ``[security] sandbox_uid_base``: the uid of builds and zygotes."""


def owned_by(first: int, count: int = 1) -> list[psutil.Process]:
    """Every process of these uids that is alive, of those that this test has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and first <= process.uids().real < first + count:
                found.append(process)
    return found


def uid_of(hub: HubProcess, user: str, item: str) -> int:
    """The uid of a student's sandboxes: the owner of the copy, from the first start on."""
    return (hub.course / "hub-notebooks" / user / item).stat().st_uid
