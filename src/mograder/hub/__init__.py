"""The hub without HTTP: the services and the work behind its pages and its API (``web.hub``)."""
