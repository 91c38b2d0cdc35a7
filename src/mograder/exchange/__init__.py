"""Work on its way to and from another server, over whatever transport reaches it."""
