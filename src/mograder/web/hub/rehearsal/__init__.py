"""Rehearsals of an item: what many students at once would take."""
