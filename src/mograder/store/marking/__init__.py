"""Marking by people: answers to a question, comments, requests, and who marks what."""
