"""Tasks of an event loop: kept, repeated, paced, or one at a time."""
