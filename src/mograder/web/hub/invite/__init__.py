"""Inviting people: one-time sign-in links for a list of names."""
