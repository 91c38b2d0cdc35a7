"""Two versions of a notebook: what differs or is open, and a cell of one put into the other."""
