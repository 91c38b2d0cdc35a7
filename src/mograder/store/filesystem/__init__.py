"""Files that survive a crash, and files in directories that others control."""
