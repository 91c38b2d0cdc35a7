"""Nodes: supervisors that run sandboxes for a hub on another machine, and the wire between them."""
