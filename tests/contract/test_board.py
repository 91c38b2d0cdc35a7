"""The board of a class over HTTP: what notebooks report, requests for help, and messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from mograder.auth.roles import Role
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from mograder.web.hub.handlers.board import MOST_MESSAGE
from mograder.web.hub.support.board.live_board import View
from mograder.web.hub.support.hub_app import HubApp
from tests.support.hub_app import Hub, hub

__all__ = ["hub"]

FORM = {"Accept": "text/html", "Origin": "http://hub.test"}
CHECKED = """import marimo

app = marimo.App()


@app.cell
def _():
    # === MOGRADER: MARKS ===
    from mograder.runtime import Grader

    _marks = {"Q1": 10}
    check = Grader(_marks).check
    return (check,)


@app.cell
def _(check):
    check("Q1: the sign", [(True, "sign")])
    check("Q2: the <b>size</b>", [(True, "size")])
    return
"""


@dataclass(frozen=True)
class Said:
    """What a check says."""

    label: str
    status: str
    earned: float = 0.0
    total: float = 1.0
