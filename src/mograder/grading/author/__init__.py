"""For authors: scaffold, generate and rehearse a source notebook, and examine its checks."""
