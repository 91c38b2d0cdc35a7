"""Running one notebook from its first cell to its last, for its results."""
