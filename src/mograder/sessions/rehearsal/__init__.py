"""Rehearsals: sessions of an item that the hub opens itself, to see how a lecture will go."""
