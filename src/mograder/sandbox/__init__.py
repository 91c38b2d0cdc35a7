"""Processes: the only room that starts any. Policy, bubblewrap, environments, supervisor."""
