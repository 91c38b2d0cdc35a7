"""The instructors' first page: what is due, what waits, and what is wrong."""
