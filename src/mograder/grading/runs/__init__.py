"""How grading runs notebooks: the sandboxes, their number and their limits."""
