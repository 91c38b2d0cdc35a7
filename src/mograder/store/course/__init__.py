"""A course's own directory: sources, releases before they are published, its lists."""
