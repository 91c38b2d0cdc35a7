"""The handlers of the routes in ``routes``. They may import ``proxy`` and ``support``."""
