"""``python -m mograder``: the same as the console script."""

from __future__ import annotations

from mograder.cli.main import main

if __name__ == "__main__":
    main()
