"""The session proxy: a bare ASGI app that relays HTTP and WebSockets to the sessions.

It may use ``support``, not ``handlers``.
"""
