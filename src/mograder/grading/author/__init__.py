"""For authors: scaffold, generate, rehearse and check a source notebook."""
