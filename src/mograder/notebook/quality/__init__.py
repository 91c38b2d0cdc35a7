"""Whether an assignment's checks tell right answers from wrong ones."""
