"""Loading settings from a text, an environment and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.settings import FILE_NAME, LoadedSettings, load_settings

Load = Callable[..., LoadedSettings]
Refusal = Callable[..., str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a course made of this text, with this environment and these options."""

    def loaded(
        text: str | None = None,
        environ: Mapping[str, str] | None = None,
        **overrides: object,
    ) -> LoadedSettings:
        if text is not None:
            (tmp_path / FILE_NAME).write_text(text, encoding="utf-8")
        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        return load_settings(tmp_path, overrides=dotted, environ=environ or {})

    return loaded


@pytest.fixture
def refusal(load: Load) -> Refusal:
    """Load likewise and return the complaint that this must cause."""

    def refused(text: str | None = None, **kwargs: object) -> str:
        with pytest.raises(InvalidInput) as caught:
            load(text, **kwargs)
        return str(caught.value)

    return refused
