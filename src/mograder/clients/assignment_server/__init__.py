"""The client of an assignment server (`mograder serve`)."""
