"""An answer as a marker sees it, and the order of the answers."""
