"""Warm starts, on the supervisor's side: zygotes and the sessions forked from them."""
