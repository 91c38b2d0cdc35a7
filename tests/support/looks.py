"""How a page looks: wide and on a phone, bright and dark. Pictures are left for people; axe looks.

The rules are those of WCAG 2.2 AA, and of good practice.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # no stubs
from playwright.async_api import Page

Look = tuple[int, str]
"""A width, and a colour scheme."""

WIDE_AND_PHONE: tuple[Look, ...] = ((1280, "light"), (390, "dark"))
SMALL_PHONE: tuple[Look, ...] = ((1280, "light"), (360, "dark"))
EVERY_LOOK: tuple[Look, ...] = ((1280, "light"), (390, "light"), (1280, "dark"), (390, "dark"))

_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_OPEN = "for (const each of document.querySelectorAll('main details')) each.open = true"
SHIFT = """() => new Promise((done) => {
  let moved = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) moved += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => requestAnimationFrame(() => done(moved)));
})"""
"""By how much a page moved while it was loaded."""

MOST_SHIFT = 0.02


async def violations(page: Page, what: str) -> list[str]:
    """Let axe look at the page as it is."""
    found = await Axe().run(page, options={"runOnly": _RULES, "resultTypes": ["violations"]})
    return [f"{what}: {found.generate_report()}"] if found.violations_count else []


async def faults(
    page: Page,
    artifacts: Path,
    name: str,
    looks: Iterable[Look] = WIDE_AND_PHONE,
    *,
    whole: bool = True,
    axe: bool = True,
) -> list[str]:
    """Take a page's picture in each look; return what is wrong with it. It is wide afterwards.

    ``whole`` is whether the picture has what has to be scrolled to, too.
    """
    wrong: list[str] = []
    for look in looks:
        what = f"{name}-{await _show(page, look)}"
        await page.screenshot(path=artifacts / f"{what}.png", full_page=whole)
        wide = await page.evaluate("document.documentElement.scrollWidth")
        wrong += [f"{what} scrolls sideways: it is {wide} wide"] if wide > look[0] else []
        wrong += await violations(page, what) if axe else []
    await _show(page, (1280, "light"))
    return wrong


async def faults_at(
    page: Page, url: str, artifacts: Path, name: str, looks: Iterable[Look] = SMALL_PHONE
) -> list[str]:
    """Load an address in each look, and open all that is folded; return what is wrong with it."""
    wrong: list[str] = []
    for look in looks:
        shown = await _show(page, look)
        await page.goto(url, wait_until="load")
        if (moved := await page.evaluate(SHIFT)) > MOST_SHIFT:
            wrong.append(f"{name}-{shown} moves while it loads, by {moved}")
        await page.evaluate(_OPEN)
        wrong += await faults(page, artifacts, name, (look,))
    return wrong


async def _show(page: Page, look: Look) -> str:
    """Show a page in this look; return the look's name."""
    width, scheme = look
    await page.set_viewport_size({"width": width, "height": 900})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    return f"{width}-{scheme}"
