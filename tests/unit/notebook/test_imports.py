"""Imports that a header does not declare are reported; transitive dependencies are not."""

from __future__ import annotations

import pytest

from mograder.notebook.references import undeclared

HEADER = "# /// script\n# dependencies = [{}]\n# ///\n"


@pytest.mark.parametrize(
    ("declared", "code", "told"),
    [
        ("", "import pandas", ["pandas"]),
        ('"pandas>=2"', "import pandas as pd, numpy.linalg", []),
        ('"marimo"', "import os, marimo, mograder.runtime, yaml", []),
        ('"Scikit_Learn"', "from sklearn.linear_model import Ridge", []),
        ("", "from PIL import Image\nimport cv2", ["opencv-python", "pillow"]),
        ("", "def f():\n    import torch\n    import torch.nn", ["torch"]),
        ("", "import helper, lib.part\nfrom . import x", []),
        ("", "try:\n    import torch\nexcept ImportError:\n    torch = None", []),
        ("", "import (", []),
        ('"numpy=>2"', "import torch", []),
    ],
)
def test_each_package_that_is_not_declared_is_told_once(
    declared: str, code: str, told: list[str]
) -> None:
    found = undeclared(HEADER.format(declared) + code + "\n", "A1.py", {"helper", "lib"})
    named = sorted(finding.hint.split('"')[3] for finding in found)
    assert named == told


def test_the_line_is_that_of_the_first_import() -> None:
    (found,) = undeclared("\nimport pandas\nimport pandas.core\n", "A1.py")
    assert str(found).startswith("A1.py:2: 'pandas' is imported")
