"""The handlers of the routes that ``routes`` lists. They may use ``proxy`` and ``support``."""
