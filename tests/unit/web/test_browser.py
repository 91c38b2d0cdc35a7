"""Which addresses are opened, and by which browsers."""

from __future__ import annotations

import webbrowser

import pytest

from mograder.web.open_browser import open_page

PAGE = "http://127.0.0.1:2718/open?code=x"


class Browser(webbrowser.GenericBrowser):
    """Notes what it is asked to open."""

    def __init__(self, name: str, *, works: bool = True) -> None:
        super().__init__(name)
        self.opened: list[str] = []
        self._works = works

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        self.opened.append(url)
        if not self._works:
            raise OSError("it does not start")
        return True


def found(monkeypatch: pytest.MonkeyPatch, browser: Browser) -> Browser:
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    return browser


def test_a_page_is_opened_in_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = found(monkeypatch, Browser("firefox"))
    assert open_page(PAGE)
    assert browser.opened == [PAGE]


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "C:\\Windows\\calc.exe", "javascript:alert(1)", "calc.exe"]
)
def test_only_addresses_of_pages_are_opened(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    browser = found(monkeypatch, Browser("firefox"))
    assert not open_page(address)
    assert browser.opened == []


def test_the_terminal_is_left_to_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = found(monkeypatch, Browser("/usr/bin/w3m"))
    assert not open_page(PAGE)
    assert browser.opened == []


def test_without_a_browser_that_starts_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, Browser("firefox", works=False))
    assert not open_page(PAGE)

    def none() -> Browser:
        raise webbrowser.Error("there is none")

    monkeypatch.setattr(webbrowser, "get", none)
    assert not open_page(PAGE)
