"""What there is to do today, what is wrong, and what was done: the audit log."""
