"""The hub itself: its health, metrics, API description and files, news for pages, the client."""
