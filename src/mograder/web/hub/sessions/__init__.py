"""Sessions: listing, starting and stopping them, and what their pages show of them."""
