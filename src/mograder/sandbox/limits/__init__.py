"""Measurement and limits of the resources of sandboxes: memory, processes, disk and CPU."""
