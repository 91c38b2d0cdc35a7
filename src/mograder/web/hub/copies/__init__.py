"""A student's copy: its state, handing it in, its versions, and updates of it."""
