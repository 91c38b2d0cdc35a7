"""The session proxy: a bare ASGI app that relays HTTP and WebSockets to the sessions."""
