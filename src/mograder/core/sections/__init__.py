"""The sections of ``mograder.toml``: keys, checks and layers. ``core.settings`` loads them."""
