"""One student of the soak: performs random actions for half an hour, and checks the results.

After each action it checks that an acknowledged save is in the file, that a replaced notebook was
kept, that a reloaded page shows the saved text, and that no other student's text appears.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import websockets

from bench.stage import ITEM
from tests.support.identity import student
from tests.support.marimo import FRESH, Address, EditorFailed, MarimoClient, open_editor

CELL = 9
"""Which cell of the benchmark's notebook the students write in: its last."""

PATIENCE_SECONDS = 240.0
_NAME = re.compile(r"soaker\d+")
_MOST_TOLD = 20
_FAILURES = (
    EditorFailed,
    httpx.HTTPError,
    websockets.WebSocketException,
    OSError,
    TimeoutError,
    KeyError,
)


class Broken(Exception):
    """Raised when an action of the hub failed."""


@dataclass
class Findings:
    """The findings over all students; the lists are bounded and keep the first entries."""

    acts: Counter[str] = field(default_factory=Counter)
    saves: int = 0
    missing: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @staticmethod
    def note(where: list[str], what: str) -> None:
        where.append(what if len(where) < _MOST_TOLD else "")


class Soaker:
    """A student with one tab; ``random`` chooses the actions, so that a seed repeats them."""

    def __init__(self, url: str, course: Path, number: int, random: Random) -> None:
        self.name = f"soaker{number}"
        self._url = url
        self._folder = course / "hub-notebooks" / self.name / ITEM
        self._random = random
        self._number = 0
        self._saved = ""
        self._tried = ""
        self._archived: dict[str, str] = {}
        self._tab: MarimoClient | None = None
        self._stack = AsyncExitStack()
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=student(self.name),
            timeout=PATIENCE_SECONDS,
            trust_env=False,
            limits=FRESH,
        )

    async def live(self, until: float, others: int, findings: Findings) -> None:
        """Perform random actions until a moment; failures are recorded and do not end the loop."""
        acts: dict[str, tuple[int, Callable[[Findings], Awaitable[None]]]] = {
            "edit": (10, self._edit),
            "reconnect": (3, self._reconnect),
            "validate": (2, self._validate),
            "export": (2, self._export),
            "look": (2, self._look),
            "stop": (1, self._stop),
            "reset": (1, self._reset),
            "pry": (1, lambda findings: self._pry(others, findings)),
        }
        weights = [weight for weight, _ in acts.values()]
        await asyncio.sleep(self._random.uniform(0, 10))
        while time.monotonic() < until:
            name = self._random.choices(list(acts), weights)[0]
            findings.acts[name] += 1
            try:
                await acts[name][1](findings)
            except (Broken, *_FAILURES) as error:
                what = f"{self.name}: {name}: {type(error).__name__}: {error}"
                findings.note(findings.failed, what[:300])
                await self._leave(rudely=True)
            await asyncio.sleep(self._random.expovariate(1 / 4))

    async def end(self, findings: Findings) -> None:
        """Close the tab, stop the session, and look for everything that was ever acknowledged."""
        await self._leave(rudely=False)
        with suppress(*_FAILURES):
            await self._post("stop-edit")
        await self._http.aclose()
        for name, mark in self._archived.items():
            self._find(mark, self._folder / name, findings)
        self._find(self._saved, self._folder / f"{ITEM}.py", findings)

    # ---- actions ----

    async def _edit(self, findings: Findings) -> None:
        tab = await self._opened()
        self._number += 1
        mark = f"{self.name}-{self._number}"
        self._tried = mark  # the session may have it from now on, with or without an answer
        shown = await tab.edit(CELL, f"v9 = v8 + 1\nmark = {mark!r}\nmark")
        if mark not in shown.data:
            raise Broken(f"the cell shows {shown.data[:100]!r} instead of {mark}")
        await tab.save()
        findings.saves += 1
        self._saved = mark
        self._find(mark, self._folder / f"{ITEM}.py", findings)

    async def _reconnect(self, findings: Findings) -> None:
        await self._leave(rudely=self._random.random() < 0.5)
        tab = await self._opened()
        codes = "\n".join(tab.cells.codes)
        if not self._holds(codes):
            findings.note(findings.missing, f"{self._saved} is not in the page that came back")
        self._own(codes, "the editor", findings)

    async def _validate(self, findings: Findings) -> None:
        if not self._saved:
            return
        answer = (await self._post("validate")).json()
        if not answer["export_ok"]:
            raise Broken(f"validation: {answer['export_error'][:200]}")
        self._own(str(answer), "a validation", findings)

    async def _export(self, findings: Findings) -> None:
        if not self._saved:
            return
        text = (await self._get(f"/export/{self.name}/{ITEM}")).text
        if not self._holds(text):
            findings.note(findings.missing, f"{self._saved} is not in the export")
        self._own(text, "an export", findings)

    async def _look(self, findings: Findings) -> None:
        page = await self._get("/", {"Accept": "text/html"})
        listed = await self._get("/sessions")
        self._own(page.text + listed.text, "a page", findings)

    async def _stop(self, findings: Findings) -> None:
        await self._post("stop-edit")
        await self._leave(rudely=False)

    async def _reset(self, findings: Findings) -> None:
        kept = (await self._post("reset")).json()["archive"]
        await self._leave(rudely=False)
        if kept is None:
            return
        self._archived[kept] = self._saved
        self._find(self._saved, self._folder / kept, findings)
        self._saved = self._tried = ""

    async def _pry(self, others: int, findings: Findings) -> None:
        other = f"soaker{self._random.randrange(others)}"
        if other == self.name:
            return
        for path in (f"/export/{other}/{ITEM}", f"/edit/user/{other}/{ITEM}/"):
            answer = await self._http.get(path)
            if answer.status_code != httpx.codes.FORBIDDEN:
                what = f"{self.name} got {answer.status_code} from {path}"
                findings.note(findings.foreign, what)

    # ---- how ----

    async def _opened(self) -> MarimoClient:
        if self._tab is None:
            started = await self._http.post(f"/start-edit-deep/{ITEM}")
            _expect(started)
            address = Address(
                base_url=f"{self._url}/{started.json()['url'].rstrip('/')}",
                headers=student(self.name),
                timeout=PATIENCE_SECONDS,
            )
            self._tab = await self._stack.enter_async_context(open_editor(address))
        return self._tab

    async def _leave(self, *, rudely: bool) -> None:
        """Close the tab, or have its computer vanish from the network."""
        if rudely and self._tab is not None:
            self._tab.vanish()
        self._tab = None
        with suppress(*_FAILURES):
            await self._stack.aclose()

    async def _post(self, what: str) -> httpx.Response:
        return _expect(await self._http.post(f"/{what}/{self.name}/{ITEM}"))

    async def _get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return _expect(await self._http.get(path, headers=headers))

    def _find(self, mark: str, path: Path, findings: Findings) -> None:
        text = path.read_text("utf-8") if path.exists() else ""
        if mark not in text and not (mark == self._saved and self._holds(text)):
            findings.note(findings.missing, f"{mark} is not in {path.name} of {self.name}")
        self._own(text, path.name, findings)

    def _holds(self, text: str) -> bool:
        """Return whether this is the last save; an unanswered one may be written as well."""
        return self._saved in text or (self._tried != "" and self._tried in text)

    def _own(self, text: str, what: str, findings: Findings) -> None:
        strangers = set(_NAME.findall(text)) - {self.name}
        if strangers:
            findings.note(findings.foreign, f"{what} of {self.name} names {sorted(strangers)[:3]}")


def _expect(answer: httpx.Response) -> httpx.Response:
    """Return the answer if its status is 200. Raises: Broken."""
    if answer.status_code != httpx.codes.OK:
        raise Broken(f"{answer.request.url.path}: {answer.status_code} {answer.text[:200]}")
    return answer
