"""Published items: their files, who sees them, and from when."""
