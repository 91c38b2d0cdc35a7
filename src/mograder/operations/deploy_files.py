"""Finding the files for administrators: systemd units, scripts, web server configurations.

A wheel has them inside the package; a checkout has them in ``deploy`` and ``scripts``. An
installation asks other versions of mograder for their files by this module's name, so it stays.
"""

from __future__ import annotations

from pathlib import Path

import mograder
from mograder.core.errors import NotFound


def shipped_file(name: str) -> Path:
    """Raise :class:`NotFound` when this installation lacks the file."""
    package = Path(mograder.__file__).parent
    checkout = package.parents[1]
    places = (package / "deploy", checkout / "deploy", checkout / "scripts")
    for place in places:
        if (place / name).is_file():
            return place / name
    raise NotFound(
        f"This installation of mograder lacks {name}.",
        hint="Install mograder again, from a wheel or a whole checkout.",
    )
