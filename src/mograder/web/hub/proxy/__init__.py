"""The way to the sessions: a bare ASGI app that relays HTTP and WebSockets.

It may use ``support``, not ``handlers``.
"""
