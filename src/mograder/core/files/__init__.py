"""Files that are written durably, and what systems and shares allow of them."""
