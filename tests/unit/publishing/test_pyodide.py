"""Pyodide from its npm package, and from the directory of its full distribution."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName
from mograder.core.wheel import WHEEL, pack_wheel
from mograder.publishing import browser_export
from mograder.publishing.pyodide import Selection, Wheel, choose, read_pyodide

NUMPY = "numpy-2.4.3-cp314-cp314-pyemscripten_2026_0_wasm32.whl"
PYLOCK = '[[packages]]\nname = "numpy"\nversion = "2.4.3"\n'


def files(wheel: bytes = b"wheel") -> dict[str, bytes]:
    """Pyodide's own files, with a lock file that names one package."""
    about = {
        "name": "numpy",
        "version": "2.4.3",
        "file_name": NUMPY,
        "sha256": hashlib.sha256(wheel).hexdigest(),
    }
    tests = {**about, "name": "numpy-tests", "file_name": "numpy-tests.tar"}
    info = {"python": "3.14.0", "abi_version": "2026_0", "arch": "wasm32"}
    lock = {"info": info, "packages": {"numpy": about, "numpy-tests": tests}}
    names = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
    return {**dict.fromkeys(names, b"x"), "pyodide-lock.json": json.dumps(lock).encode()}


def directory(place: Path, found: dict[str, bytes]) -> Path:
    for name, data in found.items():
        (place / name).write_bytes(data)
    return place


def test_the_wheels_beside_the_full_distribution_are_used(tmp_path: Path) -> None:
    python = read_pyodide(directory(tmp_path, {**files(), NUMPY: b"wheel"}))
    assert python.packages == {"numpy": "2.4.3"}
    selection = choose(PYLOCK, python)
    assert [each.place for each in selection.wheels] == [tmp_path / NUMPY]
    assert selection.missing == ()


@pytest.mark.parametrize("beside", [{}, {NUMPY: b"damaged"}])
def test_a_wheel_that_is_not_there_or_damaged_is_not_used(
    tmp_path: Path, beside: dict[str, bytes]
) -> None:
    python = read_pyodide(directory(tmp_path, {**files(), **beside}))
    assert choose(PYLOCK, python).missing == ("numpy 2.4.3",)


def test_the_npm_package_tells_the_packages_and_has_none(tmp_path: Path) -> None:
    archive = tmp_path / "pyodide.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        for name, data in files().items():
            about = tarfile.TarInfo(f"package/{name}")
            about.size = len(data)
            packed.addfile(about, io.BytesIO(data))
    python = read_pyodide(archive)
    assert (python.short_python, python.platform) == ("3.14", "2026_0_wasm32")
    assert python.packages == {"numpy": "2.4.3"}
    assert python.wheels == {}


def test_other_directories_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not Pyodide"):
        read_pyodide(tmp_path)
    (tmp_path / "x.tgz").write_bytes(b"no archive")
    with pytest.raises(InvalidInput, match="is not Pyodide"):
        read_pyodide(tmp_path / "x.tgz")
    broken = {**files(), "pyodide-lock.json": b"{}"}
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_pyodide(directory(tmp_path, broken))


def test_each_notebook_loads_all_packages_of_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """marimo loads what is imported, and Pyodide waits for ever where two need each other."""
    wheels = (
        wheel(tmp_path, "tables", "excelreader; extra == 'excel'", "styler"),
        wheel(tmp_path, "excelreader"),
        wheel(tmp_path, "styler", "pyodide-http"),
        wheel(tmp_path, "pyodide-http"),
    )
    monkeypatch.setattr(browser_export, "select_wheels", lambda *_: Selection(wheels, ()))
    python = directory(tmp_path, files())
    notebook = tmp_path / "hw1.py"
    notebook.write_text("import marimo\n\napp = marimo.App()\n")
    browser_export.export_page(tmp_path, ItemName.parse("hw1"), notebook, python, print)
    (lock,) = (tmp_path / ".mograder" / "web").rglob("pyodide-lock.json")
    packages = json.loads(lock.read_bytes())["packages"]
    assert {name: each["depends"] for name, each in packages.items()} == {
        "tables": ["styler"],
        "excelreader": [],
        "styler": [],
        "mograder": [],
        "pyodide-http": ["excelreader", "mograder", "styler", "tables"],
    }


def wheel(place: Path, name: str, *requires: str) -> Wheel:
    """A wheel of one module that requires others."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}".encode()
    file = place / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    file.write_bytes(pack_wheel({f"{info}/METADATA": about, f"{info}/WHEEL": WHEEL}, info))
    return Wheel(canonicalize_name(name), "1.0", file.name, place=file)
