"""Stand-alone programs that run inside sandboxes; they import nothing else of mograder.

They run with the Python interpreter of a notebook's environment.
"""
