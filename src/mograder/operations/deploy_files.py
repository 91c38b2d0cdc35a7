"""Where the files are that come with the program for an administrator: units, scripts, fronts.

A wheel carries them inside the package; a checkout has them in ``deploy`` and ``scripts``.
"""

from __future__ import annotations

from pathlib import Path

import mograder
from mograder.core.errors import NotFound

DEPLOY_SCRIPT = "deploy-hub-aws.sh"
"""The steps of a deployment, from afar or on the machine itself."""


def shipped_file(name: str) -> Path:
    """Return the file of that name.

    Raises: :class:`NotFound` when this installation lacks it.
    """
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
