"""Sign-in by other systems, and what learning platforms are told."""
