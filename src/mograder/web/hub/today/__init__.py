"""Today's work and problems, and the audit log."""
