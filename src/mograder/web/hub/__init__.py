"""The hub's application."""
