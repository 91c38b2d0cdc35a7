"""Measuring and bounding what sandboxes use: memory, processes, disk and CPU."""
