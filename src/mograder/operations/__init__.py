"""Looking after a hub: checks before it runs."""
