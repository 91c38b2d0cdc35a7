"""The paths that a hub may name in its calls to a node."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mograder.core.errors import Forbidden, InvalidInput
from mograder.sandbox.protocol import JudgeSubmission, Located, NotebookRequest, Warm

_KEY = re.compile(r"[A-Za-z0-9_-]{8,64}")


class NodePaths:
    """The rules: directories are below a share, environments are this node's own."""

    def __init__(self, shares: tuple[Path, ...], environments: Path) -> None:
        """``shares`` must be resolved."""
        self._shares = shares
        self._environments = environments

    def located(self, operation: Located) -> Located:
        """Return the operation with this machine's paths. Blocks: it looks at the share.

        Raises: :class:`Forbidden` for a directory that is not on a share, :class:`InvalidInput` for
        a name that is none.
        """
        if isinstance(operation, Warm):
            return operation.model_copy(update={"environment": self._own(operation.environment)})
        if isinstance(operation, JudgeSubmission):
            parts = {"worker": self._checked(operation.worker)}
            return operation.model_copy(update={**parts, "judge": self._checked(operation.judge)})
        return operation.model_copy(update=self._changes(operation))

    def _checked(self, request: NotebookRequest) -> NotebookRequest:
        return request.model_copy(update=self._changes(request))

    def _changes(self, request: NotebookRequest) -> dict[str, object]:
        notebook = PurePosixPath(request.notebook)
        if notebook.is_absolute() or ".." in notebook.parts:
            raise InvalidInput(f"This is not the name of a notebook: {request.notebook[:80]!r}.")
        directory = self._on_a_share(request.directory)
        return {"directory": directory, "environment": self._own(request.environment)}

    def _on_a_share(self, directory: Path) -> Path:
        real = Path(os.path.realpath(directory))
        if not directory.is_absolute() or not any(map(real.is_relative_to, self._shares)):
            raise Forbidden(
                f"This node serves no directory {directory}.",
                hint="Mount the hub's directories on the node at the same path, and name them "
                "with --share.",
            )
        return real

    def _own(self, environment: Path) -> Path:
        """Return this node's environment of the same name."""
        if not _KEY.fullmatch(environment.name):
            raise InvalidInput(
                f"This is not the name of an environment: {environment.name[:80]!r}."
            )
        return self._environments / environment.name
