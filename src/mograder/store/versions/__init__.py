"""Every saved state of a copy, and every published state of an item."""
