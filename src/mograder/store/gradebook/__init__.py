"""The gradebook, ``gradebook.db``: marks, which of them count, and which students see."""
