"""Sessions on nodes: which node runs each, and what the hub knows of the nodes."""
