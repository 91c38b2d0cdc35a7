"""Other servers, seen from our commands."""
