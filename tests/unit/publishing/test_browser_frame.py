"""The page of the frame."""

from __future__ import annotations

import re
from importlib.resources import files

from mograder.publishing.browser_export import FrameAddresses, frame_page

ADDRESSES = FrameAddresses(
    marimo="../marimo-1/",
    pack="../pack-2/marimo.json",
    pyodide="../pyodide-3/",
    lock="../lock-4/pyodide-lock.json",
)


def page() -> str:
    return frame_page("hw1 </script><b>", ADDRESSES)


def test_it_loads_nothing_by_itself() -> None:
    html = page()
    assert not re.findall(r'<script[^>]* src=|rel="(?:modulepreload|preload|stylesheet)"', html)
    assert "https://" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_our_script_comes_first_and_knows_the_pack_and_the_main_script() -> None:
    html = page()
    head = html.partition("<head>")[2]
    assert head.startswith('<meta charset="utf-8"><base href="../marimo-1/"><script>')
    assert 'data-pack="pack-2/marimo.json"' in head
    main = re.search(r'data-main="([^"]+)"', head)
    assert main is not None
    assert files("marimo").joinpath("_static/assets", main[1]).is_file()


def test_pyodide_and_the_packages_are_ours() -> None:
    html = page()
    for address in ("../pyodide-3/", "../lock-4/pyodide-lock.json"):
        assert f'"{address}"' in html


def test_a_title_stays_text() -> None:
    assert "</script><b>" not in page()
