"""Two versions of a notebook: their difference, and a cell of one put into the other."""
