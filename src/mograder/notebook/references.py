"""What a notebook refers to beside itself: files and folders, and packages that it imports. Pure.

A session has no network, so a package that the environment lacks is missing for every student.
Which packages bring others is known for common ones only, so the findings are advice.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import plain_text, statements_of, tree_of
from mograder.notebook.findings import Finding
from mograder.notebook.pep723 import read_script

_FILES_OF_APP = ("layout_file", "css_file", "html_head_file")
_MAY_GIVE_AWAY = re.compile("solution|answer|hidden|secret|test", re.IGNORECASE)
"""A folder with such a word in its name counts only where it is used as a path or an import."""

_HINT = 'Declare it in the header, as in `# dependencies = ["marimo", "{package}"]`.'
_PACKAGES = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "fitz": "pymupdf",
    "mpl_toolkits": "matplotlib",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Package by module name, where the names differ."""

_NUMERIC = ("pandas", "scipy", "matplotlib", "scikit-learn", "seaborn", "statsmodels", "xarray")
_BROUGHT_BY = {
    "numpy": (*_NUMERIC, "altair", "numba", "plotnine", "scikit-image", "jax", "opencv-python"),
    "pandas": ("seaborn", "statsmodels", "xarray", "plotnine", "geopandas"),
    "scipy": ("scikit-learn", "statsmodels", "scikit-image", "plotnine", "jax"),
    "matplotlib": ("seaborn", "plotnine"),
    "python-dateutil": ("pandas", "matplotlib", "seaborn", "statsmodels", "xarray"),
    "pillow": ("matplotlib", "seaborn", "scikit-image", "plotnine"),
    "packaging": ("marimo",),
    "pyyaml": ("marimo",),
    "narwhals": ("marimo", "altair", "plotly"),
    "psutil": ("marimo",),
    "pygments": ("marimo",),
    "markdown": ("marimo",),
    "click": ("marimo",),
}
_ALWAYS = ("marimo", "mograder")
"""Packages that every environment has."""


def app_call(text: str) -> ast.Call | None:
    """Return the call of ``marimo.App(...)`` in a notebook's text, or None."""
    for node in statements_of(plain_text(text)):
        match node:
            case ast.Assign(
                targets=[ast.Name(id="app")],
                value=ast.Call(func=ast.Attribute(value=ast.Name(), attr="App")) as call,
            ):
                return call
    return None


def app_files(text: str) -> tuple[str, ...]:
    """Return the paths in ``marimo.App(...)``: of layout, style sheet and HTML head."""
    call = app_call(text)
    found = (named_by(each) for each in (call.keywords if call is not None else ()))
    return tuple(path for path in found if path)


def named_by(option: ast.keyword) -> str:
    """Return the path in an option of ``marimo.App(...)``, relative to the notebook, or ""."""
    match option:
        case ast.keyword(arg=str(name), value=ast.Constant(value=str(path))):
            return path.removeprefix("./") if name in _FILES_OF_APP else ""
    return ""


def names_folder(text: str, folder: str) -> bool:
    """Whether a text refers to a folder beside it: in a path, an import, or a quoted value.

    A key of a dictionary and an index in brackets do not count.
    """
    name = re.escape(folder)
    quoted = rf"""["']{name}["']"""
    ways = [
        rf"""["'/(\\]{name}[/\\]""",
        rf"""[/\\]{name}["']""",
        rf"/\s*{quoted}",
        rf"(?:[Pp]ath|join|dir|walk|glob)\((?:[^()]*,)?\s*{quoted}",
        rf"^\s*(?:from|import)\s+{name}\b",
    ]
    if not _MAY_GIVE_AWAY.search(folder):
        ways.append(rf"(?:[(,]|(?<![=!<>])=)\s*{quoted}(?!\s*:)")
    return re.search("|".join(ways), text, re.MULTILINE) is not None


def undeclared(text: str, filename: str, beside: Collection[str] = ()) -> tuple[Finding, ...]:
    """Return the imports of a notebook that no package in its header is known to provide.

    ``beside`` holds the names of modules in the notebook's directory. Each package is reported
    once, at its first import. For a text or header that cannot be parsed nothing is returned; other
    checks report it.
    """
    try:
        script = read_script(text)
    except InvalidInput:
        return ()
    tree = tree_of(plain_text(text))
    if tree is None:
        return ()
    named = (canonicalize_name(Requirement(each).name) for each in script.dependencies)
    declared = {*_ALWAYS, *named}
    found: dict[str, Finding] = {}
    for line, module in _imports(tree):
        package = _PACKAGES.get(module, canonicalize_name(module))
        known = declared.intersection((package, *_BROUGHT_BY.get(package, ())))
        if known or module in sys.stdlib_module_names or module in beside or package in found:
            continue
        message = f"{module!r} is imported, and the notebook's header does not declare it."
        found[package] = Finding(filename, line, message, _HINT.format(package=package))
    return tuple(sorted(found.values()))


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and top-level module of each import outside of ``try``, where it may fail."""
    tolerated = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in tolerated:
            continue
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield node.lineno, module.split(".")[0]
