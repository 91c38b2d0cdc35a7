"""Which wheels run in the browser, chosen from a resolution."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from mograder.core.errors import InvalidInput
from mograder.publishing.pyodide import Pyodide, choose, pack_installed, read_wheel

_DIGEST = "0" * 64


def pyodide(**wheels: tuple[str, Path]) -> Pyodide:
    """Pyodide 314 as npm has it, and some wheels beside it."""
    beside = {canonicalize_name(name): found for name, found in wheels.items()}
    return Pyodide({}, {}, "3.14.0", "2026_0_wasm32", {}, beside)


def resolution(name: str, *wheels: str, version: str = "1.0", marker: str = "") -> str:
    """A resolution of one package, as uv writes it."""
    listed = ", ".join(
        f'{{ url = "https://files.test/{wheel}", hashes = {{ sha256 = "{_DIGEST}" }} }}'
        for wheel in wheels
    )
    when = f'marker = "{marker}"\n' if marker else ""
    return f'[[packages]]\nname = "{name}"\nversion = "{version}"\n{when}wheels = [{listed}]\n'


@pytest.mark.parametrize(
    ("wheel", "loads"),
    [
        ("x-1.0-py3-none-any.whl", True),
        ("x-1.0-py2.py3-none-any.whl", True),
        ("x-1.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl", True),
        ("x-1.0-cp312-abi3-pyemscripten_2026_0_wasm32.whl", True),
        ("x-1.0-cp314-cp314-manylinux_2_28_x86_64.whl", False),
        ("x-1.0-cp312-cp312-pyemscripten_2024_0_wasm32.whl", False),
        ("x-1.0-cp313-cp313-pyemscripten_2026_0_wasm32.whl", False),
        ("nonsense.whl", False),
    ],
)
def test_a_package_without_a_wheel_that_pyodide_loads_is_missing(wheel: str, loads: bool) -> None:
    selection = choose(resolution("x", wheel), pyodide())
    assert [each.filename for each in selection.wheels] == ([wheel] if loads else [])
    assert selection.missing == (() if loads else ("x 1.0",))


def test_the_build_for_the_browser_goes_before_plain_python() -> None:
    built = "x-1.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl"
    selection = choose(resolution("x", "x-1.0-py3-none-any.whl", built), pyodide())
    assert selection.wheels[0].filename == built


def test_packages_for_other_platforms_are_left_out() -> None:
    text = resolution("x", marker="sys_platform != 'emscripten'")
    assert choose(text, pyodide()).missing == ()


def test_the_rest_of_marimo_and_a_compiled_part_that_only_saves_time_are_left_out() -> None:
    """Some packages need marimo, which would come a second time; sqlglot runs without the other."""
    listed = resolution("marimo", "marimo-1.0-py3-none-any.whl") + resolution("sqlglotc")
    selection = choose(listed, pyodide())
    assert (selection.wheels, selection.missing) == ((), ())


def test_pyodides_own_wheel_is_used_in_its_version_only(tmp_path: Path) -> None:
    file = tmp_path / "numpy-2.4.3-cp314-cp314-pyemscripten_2026_0_wasm32.whl"
    file.write_bytes(b"wheel")
    python = pyodide(numpy=("2.4.3", file))
    found = choose(resolution("numpy", version="2.4.3"), python)
    assert [each.place for each in found.wheels] == [file]
    assert choose(resolution("numpy", version="2.5.0"), python).missing == ("numpy 2.5.0",)


def test_a_text_that_is_no_resolution_is_refused() -> None:
    with pytest.raises(InvalidInput):
        choose("packages = [", pyodide())


def test_a_wheel_tells_its_modules_and_what_it_needs_there() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/__init__.py", "")
        archive.writestr("x_single.py", "")
        archive.writestr(
            "x-1.0.dist-info/METADATA",
            "Name: x\nRequires-Dist: Y_z\nRequires-Dist: w; sys_platform == 'win32'\n"
            "Requires-Dist: v; extra == 'all'\n\n",
        )
    imports, depends = read_wheel(buffer.getvalue(), pyodide().environment())
    assert imports == ("x", "x_single")
    assert depends == ("y-z",)
    with pytest.raises(InvalidInput):
        read_wheel(b"no wheel", pyodide().environment())


def test_pyyaml_is_packed_without_its_compiled_part() -> None:
    data = pack_installed("pyyaml")
    assert data == pack_installed("pyyaml")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    assert "yaml/__init__.py" in names
    assert not [name for name in names if name.endswith(".so")]
    assert "yaml" in read_wheel(data, pyodide().environment())[0]
