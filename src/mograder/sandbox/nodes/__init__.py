"""Nodes: the agent that runs sandboxes for hubs on another machine, and the wire between them."""
