"""The assignment server, ``mograder serve``: a course over plain HTTPS.

See compatibility-0.3.16.md 4.
"""
