"""Students' copies of items, on a hub and in a student's own folder."""
