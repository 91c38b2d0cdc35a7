"""The hub without HTTP: what its pages and its API (``web.hub``) work with."""
